//! What a caller says of privacy: names that shall not leave, what may be kept back, and what parts of a text are.

/// What a name belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// Anything.
    #[default]
    Any,
    /// A cluster.
    Cluster,
    /// A namespace.
    Namespace,
    /// A resource of any other kind.
    Resource,
    /// A pod.
    Pod,
    /// A host or a domain.
    Host,
}

/// A name that shall not leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrivateName {
    /// The name.
    pub(crate) name: String,
    /// What it belongs to.
    pub(crate) kind: NameKind,
}

/// What a part of the context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Something else.
    Other,
    /// Facts about a cluster.
    Cluster,
    /// A resource, an event or a manifest.
    Resource,
    /// A pod.
    Pod,
    /// Lines of a log.
    Log,
}

/// A part of what a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which message, from 0.
    pub(crate) message: usize,
    /// What it is.
    pub(crate) kind: PartKind,
    /// The part itself.
    pub(crate) text: String,
    /// The names that it is about.
    pub(crate) names: Vec<String>,
}

/// What is kept back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Withheld {
    /// Facts about clusters, and their names.
    pub(crate) cluster: bool,
    /// Names of resources.
    pub(crate) resources: bool,
    /// Names of pods.
    pub(crate) pods: bool,
    /// Logs.
    pub(crate) logs: bool,
}

impl Withheld {
    /// What one of two keeps back.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            cluster: self.cluster || other.cluster,
            resources: self.resources || other.resources,
            pods: self.pods || other.pods,
            logs: self.logs || other.logs,
        }
    }
}

/// What a caller asks for beyond the settings, and what there is to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Secrets are taken out.
    pub(crate) redact: bool,
    /// What is kept back.
    pub(crate) withheld: Withheld,
    /// Names that are found become pseudonyms.
    pub(crate) pseudonyms: bool,
    /// Names that become pseudonyms in any case.
    pub(crate) names: Vec<PrivateName>,
    /// The context of the messages.
    pub(crate) parts: Vec<Part>,
}
