//! The collections of a server, and the alias before them. Ours is named after everything that it was made by,
//! `<collection>_<model>_<dimensions>_v<format>`; `<collection>` itself is an alias, for what is searched. When the model or
//! the format changes, the new collection is filled while searches use the old one; when it is full and verified the alias is
//! switched in one step, and then the old collection goes.

use qdrant_client::qdrant::alias_operations::Action;
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::{
    AliasOperations, ChangeAliases, CreateAlias, CreateCollection, CreateFieldIndexCollection, DeleteAlias, Distance, FieldType,
    HnswConfigDiff, IntegerIndexParams, KeywordIndexParams, Modifier, PayloadIndexParams, SparseVectorConfig, SparseVectorParams,
    VectorParams, VectorParamsMap, VectorsConfig, vectors_config,
};

use super::QdrantIndex;
use super::clients::Calls;
use crate::embedder::Space;
use crate::index::{DENSE, FORMAT, IndexError, WORDS, field, make_of};
use crate::settings::Qdrant;

/// Links of the graph that is built for each workspace. There is none over all of them: no query crosses workspaces.
const LINKS: u64 = 16;

/// A server, as far as its collections go.
pub(crate) struct Server {
    pub(super) calls: Calls,
    /// The alias.
    pub(super) alias: String,
    /// What we write to.
    pub(super) ours: String,
    dimensions: usize,
}

impl Server {
    /// Connects at the first call.
    pub(crate) fn of(settings: &Qdrant, space: &Space) -> Result<Self, IndexError> {
        Self::with(settings, space, FORMAT)
    }

    fn with(settings: &Qdrant, space: &Space, format: u32) -> Result<Self, IndexError> {
        let calls = Calls::new(&settings.url, settings.api_key())?;
        let ours = format!("{}_{}", settings.collection, make_of(space, format));
        Ok(Self { calls, alias: settings.collection.clone(), ours, dimensions: space.dimensions })
    }

    /// For the vectors of the model of this process.
    #[cfg(test)]
    pub(crate) fn new(settings: &Qdrant) -> Result<Self, IndexError> {
        Self::of(settings, &Space::default())
    }

    /// As if the format were another.
    #[cfg(test)]
    pub(crate) fn with_format(settings: &Qdrant, format: u32) -> Result<Self, IndexError> {
        Self::with(settings, &Space::default(), format)
    }

    /// Whether our collection is there.
    pub(crate) async fn is_there(&self) -> Result<bool, IndexError> {
        self.calls.collection_exists(&self.ours).await
    }

    /// What the alias stands for.
    pub(crate) async fn served(&self) -> Result<Option<String>, IndexError> {
        self.calls.find_alias(&self.alias).await
    }

    /// Makes our collection, as far as it is not there.
    pub(crate) async fn create(&self) -> Result<(), IndexError> {
        if !self.calls.collection_exists(&self.ours).await? {
            let created = self.calls.create_collection(collection(&self.ours, self.dimensions)).await;
            // Another replica may have been faster.
            if created.is_err() && !self.calls.collection_exists(&self.ours).await? {
                return created;
            }
            tracing::info!(collection = self.ours, "a collection is made");
        }
        // Making an index that is there changes nothing; an earlier process may have died before it made all of them.
        for index in indexes(&self.ours) {
            self.calls.create_field_index(index).await?;
        }
        Ok(())
    }

    /// The engine on our collection.
    pub(crate) fn current(&self) -> Result<QdrantIndex, IndexError> {
        QdrantIndex::new(self, self.ours.clone())
    }

    /// The engine on another collection, if there is such a one. It is asked for by its own name, never by the alias: that may
    /// stand for ours by the time of the call, whose vectors are another model's.
    pub(crate) async fn other(&self, name: &str) -> Result<Option<QdrantIndex>, IndexError> {
        let ours = name.strip_prefix(&self.alias).is_some_and(|rest| rest.starts_with('_'));
        if !ours || !self.calls.collection_exists(name).await? {
            return Ok(None);
        }
        QdrantIndex::new(self, name.to_owned()).map(Some)
    }
}

/// Has the alias stand for `ours`. Repeating it changes nothing.
pub(super) async fn take_over(calls: &Calls, alias: &str, ours: &str) -> Result<(), IndexError> {
    let before = calls.find_alias(alias).await?;
    if before.as_deref() == Some(ours) {
        return Ok(());
    }
    let delete = before.as_ref().map(|_| Action::DeleteAlias(DeleteAlias { alias_name: alias.to_owned() }));
    let create = Action::CreateAlias(CreateAlias { collection_name: ours.to_owned(), alias_name: alias.to_owned() });
    let actions = delete.into_iter().chain([create]).map(|action| AliasOperations { action: Some(action) });
    // The server carries out the actions of one request in one step.
    calls.change_aliases(ChangeAliases { actions: actions.collect(), timeout: None }).await?;
    tracing::info!(alias, before, collection = ours, "the alias is switched");
    Ok(())
}

fn collection(name: &str, dimensions: usize) -> CreateCollection {
    let dense = VectorParams { size: dimensions as u64, distance: Distance::Cosine.into(), ..VectorParams::default() };
    let words = SparseVectorParams { modifier: Some(Modifier::Idf.into()), ..SparseVectorParams::default() };
    let dense = VectorParamsMap { map: [(DENSE.to_owned(), dense)].into() };
    CreateCollection {
        collection_name: name.to_owned(),
        vectors_config: Some(VectorsConfig { config: Some(vectors_config::Config::ParamsMap(dense)) }),
        sparse_vectors_config: Some(SparseVectorConfig { map: [(WORDS.to_owned(), words)].into() }),
        hnsw_config: Some(HnswConfigDiff { m: Some(0), payload_m: Some(LINKS), ..HnswConfigDiff::default() }),
        ..CreateCollection::default()
    }
}

/// Every field that a filter names is indexed: a server in strict mode refuses others.
fn indexes(collection: &str) -> Vec<CreateFieldIndexCollection> {
    let keyword = |is_tenant: bool| {
        let params =
            KeywordIndexParams { is_tenant: Some(is_tenant), enable_hnsw: Some(is_tenant), ..KeywordIndexParams::default() };
        (FieldType::Keyword, IndexParams::KeywordIndexParams(params))
    };
    let range =
        IntegerIndexParams { lookup: Some(false), range: Some(true), enable_hnsw: Some(false), ..IntegerIndexParams::default() };
    let fields = [
        (field::WORKSPACE, keyword(true)),
        (field::PROJECT, keyword(false)),
        (field::PATH, keyword(false)),
        (field::BUILD, (FieldType::Integer, IndexParams::IntegerIndexParams(range))),
    ];
    let index = |(name, (kind, params)): (&str, (FieldType, IndexParams))| CreateFieldIndexCollection {
        collection_name: collection.to_owned(),
        wait: Some(true),
        field_name: name.to_owned(),
        field_type: Some(kind.into()),
        field_index_params: Some(PayloadIndexParams { index_params: Some(params) }),
        ..CreateFieldIndexCollection::default()
    };
    fields.into_iter().map(index).collect()
}
