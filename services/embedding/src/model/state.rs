//! How far the index of a workspace is.

use slipway_rpc::{ProjectId, UserId};
use uuid::Uuid;

/// The record of one workspace's index. A *build* brings it to a revision; builds are numbered from 1, and the newest wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkspaceIndex {
    /// The project that owns the workspace.
    pub(crate) project: ProjectId,
    /// The workspace.
    pub(crate) workspace: Uuid,
    /// In whose name files are read: who made the newest revision.
    pub(crate) user: UserId,
    /// The newest build that was asked for.
    pub(crate) wanted: u64,
    /// The revision it is for.
    pub(crate) wanted_revision: Uuid,
    /// That revision's number.
    pub(crate) wanted_number: u64,
    /// The newest build that is to chunk every file again; 0 when none was asked to.
    pub(crate) anew: u64,
    /// The build that searches answer from; 0 before the first.
    pub(crate) built: u64,
    /// The engine that has it; empty before the first.
    pub(crate) engine: String,
    /// The revision that searches answer from.
    pub(crate) revision: Option<Uuid>,
    /// That revision's number; 0 before the first.
    pub(crate) revision_number: u64,
    /// The last build that failed; 0 when none has.
    pub(crate) failed: u64,
    /// Why it failed.
    pub(crate) failure: String,
    /// The build whose vectors are settled: computed, or known not to come.
    pub(crate) settled: u64,
    /// Why computing vectors failed; empty when it did not.
    pub(crate) vector_failure: String,
    /// Files of the revision.
    pub(crate) file_count: u64,
    /// Chunks of the revision.
    pub(crate) chunk_count: u64,
    /// Those that have their vector.
    pub(crate) vector_count: u64,
    /// Those whose vector was computed for this build.
    pub(crate) embedded_count: u64,
    /// When it last changed, in microseconds since the epoch.
    pub(crate) update_time: i64,
}

/// What the index is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A build is queued or under way.
    Indexing,
    /// The newest build is what searches answer from.
    Ready,
    /// The newest build failed.
    Failed,
}

/// How an index is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Vectors and words, fused.
    Hybrid,
    /// Words only.
    Lexical,
    /// Vectors only.
    Dense,
}

/// Whether there is an embedding model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// It is being loaded.
    Loading,
    /// It is there.
    Ready,
    /// There is none, and why.
    Absent(String),
    /// It failed when it was asked last; why.
    Failing(String),
}

impl WorkspaceIndex {
    /// What it is doing.
    pub(crate) fn state(&self) -> State {
        if self.built >= self.wanted {
            State::Ready
        } else if self.failed >= self.wanted {
            State::Failed
        } else {
            State::Indexing
        }
    }

    /// The best that the index has, and why, for people. With few of its vectors, an index is searched by words: a ranking
    /// that knows a part of the chunks would push the others down.
    pub(crate) fn mode(&self, model: &Model) -> (Mode, String) {
        let missing = self.chunk_count.saturating_sub(self.vector_count);
        let because = if self.vector_failure.is_empty() {
            String::new()
        } else {
            format!(" (the last attempt failed: {})", self.vector_failure)
        };
        match model {
            Model::Absent(why) => (Mode::Lexical, why.clone()),
            Model::Failing(why) => {
                (Mode::Lexical, format!("the embedding model fails: {why}; until it works, search is by words"))
            }
            Model::Loading => (Mode::Lexical, "the embedding model is being loaded; until then search is by words".to_owned()),
            Model::Ready if missing == 0 => (Mode::Hybrid, "every chunk has its vector: vectors and words are fused".to_owned()),
            Model::Ready if self.vector_count >= missing * 3 => {
                let counts = format!("{} of {} chunks have their vector", self.vector_count, self.chunk_count);
                (Mode::Hybrid, format!("{counts}; the others are found by words{because}"))
            }
            Model::Ready => {
                let counts = format!("{} of {} chunks have their vector", self.vector_count, self.chunk_count);
                (Mode::Lexical, format!("{counts}; until three quarters do, search is by words{because}"))
            }
        }
    }

    /// How a search is carried out: as asked when that is possible, else by words.
    pub(crate) fn mode_for(&self, asked: Option<Mode>, model: &Model) -> Mode {
        match asked {
            None => self.mode(model).0,
            Some(Mode::Lexical) => Mode::Lexical,
            Some(_) if *model != Model::Ready || self.vector_count == 0 => Mode::Lexical,
            Some(mode) => mode,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn index(chunks: u64, vectors: u64) -> WorkspaceIndex {
        WorkspaceIndex {
            project: ProjectId(Uuid::from_u128(1)),
            workspace: Uuid::from_u128(2),
            user: UserId(Uuid::from_u128(3)),
            wanted: 1,
            wanted_revision: Uuid::from_u128(4),
            wanted_number: 1,
            anew: 0,
            built: 1,
            engine: "e".to_owned(),
            revision: Some(Uuid::from_u128(4)),
            revision_number: 1,
            failed: 0,
            failure: String::new(),
            settled: 0,
            vector_failure: String::new(),
            file_count: 1,
            chunk_count: chunks,
            vector_count: vectors,
            embedded_count: 0,
            update_time: 0,
        }
    }

    #[test]
    fn the_newest_build_decides_the_state() {
        let ready = index(1, 1);
        assert_eq!(ready.state(), State::Ready);
        assert_eq!(WorkspaceIndex { wanted: 2, ..ready.clone() }.state(), State::Indexing);
        assert_eq!(WorkspaceIndex { wanted: 2, failed: 2, ..ready.clone() }.state(), State::Failed);
        assert_eq!(WorkspaceIndex { wanted: 3, failed: 2, ..ready }.state(), State::Indexing);
    }

    #[test]
    fn the_mode_follows_the_model_and_the_vectors() {
        assert_eq!(index(10, 10).mode(&Model::Ready).0, Mode::Hybrid);
        assert_eq!(index(10, 8).mode(&Model::Ready).0, Mode::Hybrid);
        assert_eq!(index(10, 7).mode(&Model::Ready).0, Mode::Lexical);
        assert_eq!(index(0, 0).mode(&Model::Ready).0, Mode::Hybrid);
        assert_eq!(index(10, 10).mode(&Model::Loading).0, Mode::Lexical);
        let (mode, why) = index(10, 10).mode(&Model::Absent("run make demo".to_owned()));
        assert_eq!((mode, why.as_str()), (Mode::Lexical, "run make demo"));
    }

    #[test]
    fn what_is_asked_is_done_when_it_can_be() {
        assert_eq!(index(10, 1).mode_for(Some(Mode::Dense), &Model::Ready), Mode::Dense);
        assert_eq!(index(10, 0).mode_for(Some(Mode::Dense), &Model::Ready), Mode::Lexical);
        assert_eq!(index(10, 10).mode_for(Some(Mode::Hybrid), &Model::Loading), Mode::Lexical);
        assert_eq!(index(10, 10).mode_for(Some(Mode::Lexical), &Model::Ready), Mode::Lexical);
        assert_eq!(index(10, 10).mode_for(None, &Model::Ready), Mode::Hybrid);
    }
}
