//! Garbage collection through the API: what nothing refers to goes, and what something refers to stays, whatever happens
//! at the same time, wherever a collector dies, and however many there are.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use slipway_testkit::s3::S3;
use tonic::Code;

use super::*;
use crate::GcSettings;
use crate::garbage::steps::{Gate, Place};
use crate::model::{FileEntry, Manifest};

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn grace(minutes: u64) -> GcSettings {
    GcSettings { interval_minutes: 0, grace_minutes: minutes }
}

/// One file store in a directory, and one in a bucket where there is a server. Manifests are read anew each time.
async fn houses(minutes: u64) -> Vec<House> {
    houses_with(minutes, 0).await
}

async fn houses_with(minutes: u64, manifest_cache_mib: u64) -> Vec<House> {
    let settings = |settings| Settings { gc: grace(minutes), manifest_cache_mib, ..settings };
    let mut houses = vec![House::with(settings(Settings::default())).await];
    if let Some(server) = S3::shared().await {
        houses.push(House::with(settings(buckets::on(server))).await);
    }
    houses
}

/// The hashes of the blobs that are there.
pub(super) async fn there(house: &House) -> BTreeSet<String> {
    house.collector.blobs().list().map_ok(|blob| blob.hash.to_hex().to_string()).try_collect().await.unwrap()
}

/// The hashes that the revisions and overlays of all workspaces refer to. Reads every content of theirs, whole.
pub(super) async fn referenced(house: &House, user: &User) -> BTreeSet<String> {
    // Of those that are kept as deltas, the roots.
    let mut hashes = house.collector.manifests().await;
    let request = pb::ListWorkspacesRequest { page_size: 1_000, ..Default::default() };
    let workspaces = user.client.clone().list_workspaces(user.ctx.request(request)).await.unwrap().into_inner().workspaces;
    for workspace in workspaces {
        let request = pb::ListRevisionsRequest { workspace_id: workspace.id.clone(), page_size: 1_000, ..Default::default() };
        let revisions = user.client.clone().list_revisions(user.ctx.request(request)).await.unwrap().into_inner().revisions;
        for revision in revisions {
            let (workspace_id, revision_id) = (workspace.id.clone(), revision.id.clone());
            let request = pb::ListFilesRequest { workspace_id, revision_id, ..Default::default() };
            for listed in user.list_files(request).await.unwrap().files {
                if hashes.contains(&listed.hash) {
                    continue;
                }
                let (entry, content) = user.read(&workspace.id, &revision.id, &listed.path).await.unwrap();
                assert_eq!(blake3::hash(&content).to_hex().as_str(), entry.hash);
                hashes.insert(entry.hash);
            }
        }
        for overlay in user.list_overlays(&workspace.id).await {
            let files = user.overlay_files(&workspace.id, &overlay.id).await.unwrap();
            hashes.extend(files.into_iter().map(|(entry, _)| entry.hash));
        }
    }
    hashes
}

pub(super) async fn delete_workspace(user: &User, id: &str) -> Result<(), Status> {
    let request = pb::DeleteWorkspaceRequest { workspace_id: id.to_owned() };
    user.client.clone().delete_workspace(user.ctx.request(request)).await.map(drop)
}

#[tokio::test]
async fn what_nothing_refers_to_goes_after_it_was_marked_for_the_grace_period() {
    for house in houses(60).await {
        let user = User::of(&house);
        let (old, kept) = (user.workspace("old").await.id, user.workspace("kept").await.id);
        user.commit(&old, vec![write("shared", "shared"), write("lone", "lone"), write("saved", "saved")]).await;
        user.commit(&kept, vec![write("shared", "shared")]).await;
        delete_workspace(&user, &old).await.unwrap();

        let young = user.collect().await.unwrap();
        assert_eq!((young.blobs, young.marked, young.removed), (5, 0, 0), "too young to be marked");
        house.clock.advance(HOUR + Duration::from_secs(5));
        let marked = user.collect().await.unwrap();
        assert_eq!((marked.marked, marked.removed), (3, 0), "two contents and a manifest");
        assert_eq!((user.collect().await.unwrap().marked, there(&house).await.len()), (0, 5));
        // Referred to again, and known to be there, so that it is not even written.
        user.commit(&kept, vec![write("saved", "saved")]).await;
        house.clock.advance(HOUR + Duration::from_secs(5));
        let swept = user.collect().await.unwrap();
        assert_eq!((swept.absolved, swept.removed, swept.remains), (1, 2, 0));
        assert!(swept.removed_bytes > 4 && swept.end_time.unwrap().seconds >= swept.start_time.unwrap().seconds);
        assert_eq!(there(&house).await, referenced(&house, &user).await);

        // What was removed can be written again by the process that knew it to be there.
        user.commit(&kept, vec![write("lone", "lone")]).await;
        assert_eq!(user.read(&kept, "", "lone").await.unwrap().1, b"lone");
    }
}

#[tokio::test]
async fn an_overlay_keeps_its_contents_until_it_ends() {
    for house in houses(0).await {
        let user = User::of(&house);
        let id = user.workspace("w").await.id;
        user.commit(&id, vec![write("base", "base")]).await;
        let (kept, lost) = (user.overlay(&id, "").await.unwrap(), user.overlay(&id, "").await.unwrap());
        user.change(&kept.id, vec![write("first", "first")]).await;
        user.change(&lost.id, vec![write("lost", "lost")]).await;
        user.change(&kept.id, vec![write("second", "second"), delete("base")]).await;
        assert_eq!(user.collect().await.unwrap().removed, 1, "the manifest of the version between");
        assert_eq!(there(&house).await, referenced(&house, &user).await);
        user.delete_overlay(&lost.id).await.unwrap();
        assert_eq!(user.collect().await.unwrap().removed, 2);
        // What it took over from the version before is there for the revision, too.
        user.commit_overlay(overlays::commit_of(&kept.id)).await.unwrap();
        assert_eq!(user.collect().await.unwrap().removed, 0);
        assert_eq!(user.read(&id, "", "first").await.unwrap().1, b"first");
        let expired = user.overlay(&id, "").await.unwrap();
        user.change(&expired.id, vec![write("expired", "expired")]).await;
        house.clock.advance(400 * HOUR);
        assert_eq!(user.collect().await.unwrap().removed, 2);
        assert_eq!(there(&house).await, referenced(&house, &user).await);
    }
}

/// A content that, beside `b`, makes a manifest whose hash starts with `digit`.
fn filler(digit: char) -> String {
    let entry = |path: &str, content: &str| FileEntry {
        path: path.into(),
        size: content.len() as u64,
        hash: blake3::hash(content.as_bytes()),
        executable: false,
    };
    let hash = |rest: &str| blake3::hash(&Manifest::new(vec![entry("b", "b"), entry("rest", rest)]).unwrap().encode());
    (0..).map(|n| n.to_string()).find(|rest| hash(rest).to_hex().starts_with(digit)).unwrap()
}

#[tokio::test]
async fn an_overlay_that_changes_while_manifests_are_read_loses_nothing() {
    let house = House::with(Settings { gc: grace(0), ..Settings::default() }).await;
    let user = User::of(&house);
    let (id, lost) = (user.workspace("w").await.id, user.workspace("lost").await.id);
    user.commit(&lost, vec![write("b", "b")]).await;
    delete_workspace(&user, &lost).await.unwrap();
    // Manifests between those of the overlay's two versions.
    for n in 0..8 {
        user.commit(&id, vec![write("a", format!("{n}")), write("always", "always")]).await;
    }
    let empty = user.workspace("empty").await.id;
    let overlay = user.overlay(&empty, "").await.unwrap();
    let steps = &house.collector.steps;
    steps.halt(Some(Place::Condemning));
    let collection = tokio::spawn({
        let user = user.clone();
        async move { user.collect().await }
    });
    steps.halted(Place::Condemning).await;
    // Nothing referred to `b` when it was marked; this does when it is condemned.
    user.change(&overlay.id, vec![write("b", "b"), write("rest", filler('f'))]).await;
    steps.halt(Some(Place::Page));
    steps.halted(Place::Page).await;
    // The version with `b` is still to be read. The next one's manifest would have been among the first.
    let mut writer = tokio::spawn({
        let (user, request) = (user.clone(), overlays::change(&overlay.id, vec![write("rest", filler('0'))]));
        async move { user.try_change(request).await }
    });
    tokio::select! {
        () = steps.stopped.notified() => {}
        made = &mut writer => panic!("it did not wait until `b` was judged: {made:?}"),
    }
    steps.halt(None);
    collection.await.unwrap().unwrap();
    let changed = writer.await.unwrap().unwrap();
    assert!(changed.hash.starts_with('0'));
    assert_eq!(user.overlay_files(&empty, &overlay.id).await.unwrap()[0].1, b"b");
}

#[tokio::test]
async fn what_is_removed_before_its_overlay_lands_is_noticed() {
    for house in houses(0).await {
        let user = User::of(&house);
        let id = user.workspace("w").await.id;
        let overlay = user.overlay(&id, "").await.unwrap();
        let overlay = user.change(&overlay.id, vec![write("a", "1")]).await;
        house.collector.steps.set_gate(Gate::Shut);
        let writer = tokio::spawn({
            let (user, request) = (user.clone(), overlays::change(&overlay.id, vec![write("b", "2")]));
            async move { user.try_change(request).await }
        });
        house.collector.steps.writer_waits().await;
        assert_eq!(user.collect().await.unwrap().removed, 3, "its content, its manifest, and the empty one");
        house.collector.steps.set_gate(Gate::Open);
        assert_eq!(refusal(writer.await.unwrap()).1, "SERVICE_UNAVAILABLE");
        assert_eq!(user.get_overlay(&overlay.id).await.unwrap(), overlay);
        user.change(&overlay.id, vec![write("b", "2")]).await;
        user.collect().await.unwrap();
        assert_eq!(there(&house).await, referenced(&house, &user).await);
    }
}

#[tokio::test]
async fn what_is_removed_before_its_writer_lands_is_noticed() {
    for house in houses(0).await {
        let user = User::of(&house);
        let id = user.workspace("w").await.id;
        let one = user.commit(&id, vec![write("a", "1")]).await;
        house.collector.steps.set_gate(Gate::Shut);
        let request = commit(&id, &one.id, vec![write("b", "2")]);
        let writer = tokio::spawn({
            let (user, request) = (user.clone(), request.clone());
            async move { user.try_commit(request).await }
        });
        house.collector.steps.writer_waits().await;
        assert_eq!(user.collect().await.unwrap().removed, 2, "its content and its manifest");
        house.collector.steps.set_gate(Gate::Open);
        let (code, reason, _) = refusal(writer.await.unwrap());
        assert_eq!((code, reason.as_str()), (Code::Unavailable, "SERVICE_UNAVAILABLE"));
        assert_eq!(user.get(&id).await.unwrap().head_revision_id, one.id);
        assert_eq!(user.try_commit(request).await.unwrap().number, 2);
        assert_eq!(there(&house).await, referenced(&house, &user).await);
    }
}

#[tokio::test]
async fn a_collection_that_removes_other_things_does_not_stop_a_writer() {
    let house = House::with(Settings { gc: grace(60), ..Settings::default() }).await;
    let user = User::of(&house);
    let (kept, lost) = (user.workspace("kept").await.id, user.workspace("lost").await.id);
    user.commit(&lost, vec![write("a", "1")]).await;
    delete_workspace(&user, &lost).await.unwrap();
    house.clock.advance(2 * HOUR);
    assert_eq!(user.collect().await.unwrap().marked, 2);
    house.clock.advance(2 * HOUR);
    house.collector.steps.set_gate(Gate::Shut);
    let writer = tokio::spawn({
        let (user, request) = (user.clone(), commit(&kept, "", vec![write("b", "2")]));
        async move { user.try_commit(request).await }
    });
    house.collector.steps.writer_waits().await;
    assert_eq!(user.collect().await.unwrap().removed, 2);
    house.collector.steps.set_gate(Gate::Open);
    assert_eq!(writer.await.unwrap().unwrap().number, 1);
    assert_eq!(user.read(&kept, "", "b").await.unwrap().1, b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_replica_removed_is_written_again() {
    let Some(server) = S3::shared().await else { return };
    let settings = Settings { gc: grace(0), ..buckets::on(server) };
    let Some([here, there]) = House::replicas(settings).await else { return };
    let user = User::of(&here);
    let lost = user.workspace("lost").await.id;
    user.commit(&lost, vec![write("a", "known here")]).await;
    delete_workspace(&user, &lost).await.unwrap();
    // Either of them may take the job; only the removal at the other one tests something.
    while here.collector.blobs().is_known(blake3::hash(b"known here"), 0).await {
        if user.at(&there).collect().await.unwrap().removed > 0 {
            break;
        }
    }
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("a", "known here")]).await;
    assert_eq!(user.at(&there).read(&id, "", "a").await.unwrap().1, b"known here");
}

#[tokio::test]
async fn a_collector_may_die_between_any_two_steps() {
    // In the bucket after every fourth: each costs the pause before the next attempt.
    for (house, stride) in houses(0).await.into_iter().zip([1, 4]) {
        let user = User::of(&house);
        let kept = user.workspace("kept").await.id;
        user.commit(&kept, vec![write("kept", "kept")]).await;
        for steps in (0..).step_by(stride) {
            let lost = user.workspace("lost").await.id;
            user.commit(&lost, vec![write("a", format!("lost {steps}")), write("b", "wanted again")]).await;
            delete_workspace(&user, &lost).await.unwrap();
            house.collector.steps.kill_after(steps);
            // The writer comes while the dead one's work lies there, and before another has taken it up.
            let (collected, wanted) = tokio::join!(user.collect(), async {
                let id = user.workspace("wanted").await.id;
                let request = commit(&id, "", vec![write("b", "wanted again"), write("c", format!("new {steps}"))]);
                // Whoever is told that contents were just removed sends them again.
                while let Err(status) = user.try_commit(request.clone()).await {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                }
                id
            });
            collected.unwrap();
            let expected = referenced(&house, &user).await;
            assert!(there(&house).await.is_superset(&expected), "after {steps} steps");
            delete_workspace(&user, &wanted).await.unwrap();
            if house.collector.steps.spare() {
                assert!(steps > 5, "there were {steps} steps");
                break;
            }
        }
        user.collect().await.unwrap();
        assert_eq!(there(&house).await, referenced(&house, &user).await);
    }
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_stops_everything() {
    let house = House::with(Settings { gc: grace(0), ..Settings::default() }).await;
    let user = User::of(&house);
    let (kept, lost) = (user.workspace("kept").await.id, user.workspace("lost").await.id);
    let revision = user.commit(&kept, vec![write("a", "1")]).await;
    user.commit(&lost, vec![write("b", "2")]).await;
    delete_workspace(&user, &lost).await.unwrap();
    let manifest = house.dir().join("blobs").join(&revision.hash[..2]).join(&revision.hash[2..]);
    let whole = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &whole[..whole.len() - 1]).unwrap();
    let status = user.collect().await.unwrap_err();
    assert!(status.message().contains(&revision.hash), "{status:?}");
    assert_eq!(there(&house).await.len(), 4);
    std::fs::write(&manifest, &whole).unwrap();
    assert_eq!(user.collect().await.unwrap().removed, 2);
    assert_eq!(there(&house).await, referenced(&house, &user).await);
}

#[tokio::test]
async fn remains_of_broken_writes_are_cleared_away() {
    let house = House::with(Settings { gc: grace(0), ..Settings::default() }).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let hash = user.commit(&id, vec![write("a", "1")]).await.hash;
    let folder = house.dir().join("blobs").join(&hash[..2]);
    let (remains, foreign) = (folder.join(format!("{}#1", &hash[2..])), folder.join("notes.txt"));
    std::fs::write(&remains, "half").unwrap();
    std::fs::write(&foreign, "not ours").unwrap();
    assert_eq!(user.collect().await.unwrap().remains, 0, "it may be growing still");
    house.clock.advance(2 * HOUR);
    assert_eq!(user.collect().await.unwrap().remains, 1);
    assert!(!remains.exists() && foreign.exists());
    assert_eq!(user.read(&id, "", "a").await.unwrap().1, b"1");
}

/// A generator whose numbers depend on the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// Few contents, so that one is dropped here while it is taken up there; one is uploaded in parts.
fn content(n: usize) -> Vec<u8> {
    if n == 0 { vec![9; (8 << 20) + 1] } else { format!("content {n}").into_bytes() }
}

/// Does something at random. What others did meanwhile may refuse it.
async fn act(user: &User, dice: &mut Dice, shared: &Mutex<Vec<String>>) -> Result<(), Status> {
    let workspaces = shared.lock().unwrap().clone();
    let id = workspaces.get(dice.roll(4)).cloned();
    let (action, files) = (dice.roll(10), 1 + dice.roll(3));
    let Some(id) = id else {
        let id = user.workspace("w").await.id;
        shared.lock().unwrap().push(id);
        return Ok(());
    };
    if action == 0 {
        shared.lock().unwrap().retain(|other| *other != id);
        return delete_workspace(user, &id).await;
    }
    let head = user.get(&id).await?.head_revision_id;
    if action == 1 && !head.is_empty() {
        let request = pb::ListRevisionsRequest { workspace_id: id.clone(), ..Default::default() };
        let revisions = user.client.clone().list_revisions(user.ctx.request(request)).await?.into_inner().revisions;
        // The workspace may have been deleted while its revisions were listed.
        let Some(revision) = revisions.get(dice.roll(revisions.len().max(1))) else { return Ok(()) };
        let revision_id = revision.id.clone();
        let request = pb::RestoreRevisionRequest { workspace_id: id, revision_id, ..Default::default() };
        return user.client.clone().restore_revision(user.ctx.request(request)).await.map(drop);
    }
    if (3..6).contains(&action) {
        return act_on_overlay(user, dice, &id, action).await;
    }
    let files: Vec<_> = (0..files).map(|n| (format!("f{n}"), content(dice.roll(8)))).collect();
    if action == 2 {
        let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
        let archive = archives::tar_gz(&files);
        return user.import(header(&id, &head, pb::ArchiveFormat::TarGz), &archive).await.map(drop);
    }
    // What commits take is smaller than a part.
    let changes = files.into_iter().filter(|(_, content)| content.len() < 100).map(|(path, content)| write(&path, content));
    // Half of them have so many files that manifests are kept as deltas.
    let always = if dice.roll(2) == 0 { 1 } else { 40 };
    let changes: Vec<_> = changes.chain((0..always).map(|n| write(&format!("always{n}"), "always"))).collect();
    user.try_commit(commit(&id, &head, changes)).await.map(drop)
}

/// Makes, changes, commits or deletes an overlay of the workspace. Files come and go, so that versions differ by much.
async fn act_on_overlay(user: &User, dice: &mut Dice, workspace: &str, action: usize) -> Result<(), Status> {
    let request = pb::ListOverlaysRequest { workspace_id: workspace.into(), ..Default::default() };
    let overlays = user.overlays.clone().list_overlays(user.ctx.request(request)).await?.into_inner().overlays;
    let overlay = match overlays.get(dice.roll(3)) {
        Some(overlay) => overlay.clone(),
        None => user.overlay(workspace, "").await?,
    };
    match (action, dice.roll(4)) {
        (3, 0) => user.delete_overlay(&overlay.id).await,
        (3, 1) => user.commit_overlay(overlays::commit_of(&overlay.id)).await.map(drop),
        (_, n) => {
            let path = format!("o{n}");
            let changes = vec![write(&path, content(1 + dice.roll(7))), write("rest", format!("{}", dice.roll(100)))];
            user.try_change(overlays::change(&overlay.id, changes)).await.map(drop)
        }
    }
}

/// Everybody does as they like at every replica while garbage is collected without any grace.
async fn interleave(houses: &[House], seed: u64) {
    for house in houses {
        house.collector.steps.set_gate(Gate::Slow(Duration::from_millis(25)));
    }
    let user = User::of(&houses[0]);
    let shared = Arc::new(Mutex::new(Vec::new()));
    let (done, removed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let actors = (0..4).map(|n| {
        let (user, shared) = (user.at(&houses[n % houses.len()]), shared.clone());
        let mut dice = Dice(seed * 1_000 + n as u64 + 1);
        tokio::spawn(async move {
            for _ in 0..30 {
                if let Err(status) = act(&user, &mut dice, &shared).await {
                    let may_be = [Code::Aborted, Code::NotFound, Code::Unavailable];
                    assert!(may_be.contains(&status.code()), "{status:?}");
                }
            }
        })
    });
    let actors: Vec<_> = actors.collect();
    let collectors = houses.iter().map(|house| {
        let (user, done, removed) = (user.at(house), done.clone(), removed.clone());
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                removed.fetch_add(user.collect().await.unwrap().removed, Ordering::SeqCst);
            }
        })
    });
    let collectors: Vec<_> = collectors.collect();
    for actor in actors {
        actor.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    for collector in collectors {
        collector.await.unwrap();
    }
    let expected = referenced(&houses[0], &user).await;
    assert!(there(&houses[0]).await.is_superset(&expected), "seed {seed}");
    user.collect().await.unwrap();
    user.collect().await.unwrap();
    assert_eq!(there(&houses[0]).await, referenced(&houses[0], &user).await, "seed {seed}");
    assert!(removed.load(Ordering::SeqCst) > 0, "seed {seed} removed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_at_once_nothing_in_use_is_removed() {
    for seed in 1..=3 {
        // Without a cache, and without a grace period, one who reads what goes would find that it is gone.
        for house in houses_with(0, 64).await {
            interleave(&[house], seed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_collect_and_write_at_once() {
    let Some(server) = S3::shared().await else { return };
    let settings = Settings { gc: grace(0), ..buckets::on(server) };
    let Some(houses) = House::replicas(settings).await else { return };
    interleave(&houses, 4).await;
}
