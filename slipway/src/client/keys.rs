//! `slipway inference keys`

use std::io::{IsTerminal as _, Read as _};

use slipway_proto::inference::{
    CreateProviderKeyRequest, DeleteProviderKeyRequest, ListProviderKeysRequest, ListProviderKeysResponse,
    RewrapProviderKeysRequest, RewrapProviderKeysResponse, RotateProviderKeyRequest, StoredProviderKey,
};

use super::{Api, required};
use crate::args::Keys;
use crate::error::Failure;
use crate::output::{Out, Table, count, time};

const PAGE: u32 = 1000;
// A key is far shorter; a file that was given by mistake is not read to its end.
const MAX_INPUT: u64 = 64 << 10;

/// Lists the project's keys, or changes them.
pub(crate) async fn keys(api: &Api, out: &Out, command: Keys) -> anyhow::Result<()> {
    match command {
        Keys::Add { provider, title } => {
            let request = CreateProviderKeyRequest { provider, title, key: key(out)? };
            let answer = api.keys.clone().create_provider_key(request).await?.into_inner();
            if out.json("inference.v1.CreateProviderKeyResponse", &answer)? {
                return Ok(());
            }
            stored(out, &required(answer.provider_key, "key")?)
        }
        Keys::List => list(api, out).await,
        Keys::Rotate { id } => {
            let request = RotateProviderKeyRequest { provider_key_id: id, key: key(out)? };
            let answer = api.keys.clone().rotate_provider_key(request).await?.into_inner();
            if out.json("inference.v1.RotateProviderKeyResponse", &answer)? {
                return Ok(());
            }
            stored(out, &required(answer.provider_key, "key")?)
        }
        Keys::Rewrap => {
            let answer = api.keys.clone().rewrap_provider_keys(RewrapProviderKeysRequest {}).await?.into_inner();
            if out.json("inference.v1.RewrapProviderKeysResponse", &answer)? {
                return Ok(());
            }
            rewrapped(out, &answer)
        }
        Keys::Remove { id } => {
            let request = DeleteProviderKeyRequest { provider_key_id: id.clone() };
            let answer = api.keys.clone().delete_provider_key(request).await?.into_inner();
            if out.json("inference.v1.DeleteProviderKeyResponse", &answer)? {
                return Ok(());
            }
            out.line(format!("{id} is deleted"))
        }
    }
}

/// The key, from standard input and from nowhere else: other users can see a command line.
fn key(out: &Out) -> anyhow::Result<String> {
    let input = std::io::stdin();
    let mut text = String::new();
    if input.is_terminal() {
        out.note("paste the key and press Enter; it is shown while you do, so rather pipe it in");
        input.read_line(&mut text)?;
    } else {
        input.lock().take(MAX_INPUT).read_to_string(&mut text)?;
    }
    let key = text.trim();
    if key.is_empty() {
        return Err(Failure::usage("there is no key on standard input; pipe it in").into());
    }
    Ok(key.to_owned())
}

fn stored(out: &Out, key: &StoredProviderKey) -> anyhow::Result<()> {
    out.line(format!("{} for {} is stored, fingerprint {}", key.id, key.provider, key.fingerprint))
}

fn rewrapped(out: &Out, done: &RewrapProviderKeysResponse) -> anyhow::Result<()> {
    let current = &done.encryption_key_id;
    out.line(format!("{} of this project are encrypted with {current} now", count(done.rewrapped, "key")))?;
    match done.old_encryption_key_ids.as_slice() {
        [] => out.line("nothing is under another key: inference.keys.old_encryption_keys can go"),
        old => out.line(format!("still needed, because keys under them do not open: {}", old.join(", "))),
    }
}

async fn list(api: &Api, out: &Out) -> anyhow::Result<()> {
    let mut all = ListProviderKeysResponse::default();
    loop {
        let request = ListProviderKeysRequest { page_size: PAGE, page_token: std::mem::take(&mut all.next_page_token) };
        let page = api.keys.clone().list_provider_keys(request).await?.into_inner();
        all.provider_keys.extend(page.provider_keys);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            break;
        }
    }
    if out.json("inference.v1.ListProviderKeysResponse", &all)? {
        return Ok(());
    }
    let mut table = Table::plain(&["id", "provider", "title", "fingerprint", "ends in", "stored", "replaced"], out.paint);
    for key in &all.provider_keys {
        table.row([
            key.id.clone(),
            key.provider.clone(),
            key.title.clone(),
            key.fingerprint.clone(),
            key.last_four.clone(),
            time(key.create_time.as_ref()),
            time(key.rotate_time.as_ref()),
        ]);
    }
    out.line(table.text())
}
