//! The rows of uploads and their pieces.

/// The table `upload`.
pub(crate) mod upload {
    use sea_orm::ActiveValue::Set;
    use sea_orm::entity::prelude::*;
    use slipway_rpc::ProjectId;

    use crate::error::Error;
    use crate::model::Upload;
    use crate::store::entity::{parse_hash, to_i64, to_u64};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "upload")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) project_id: Uuid,
        pub(crate) size: i64,
        /// How many bytes are safe.
        pub(crate) committed: i64,
        /// What the content must be, in hex.
        pub(crate) blake3: Option<String>,
        pub(crate) sha256: Option<Vec<u8>>,
        /// What it is, in hex, once it is finished.
        pub(crate) content: Option<String>,
        pub(crate) create_time: i64,
        pub(crate) expire_time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl Model {
        pub(crate) fn into_upload(self) -> Result<Upload, Error> {
            let sha256 = self.sha256.map(|bytes| <[u8; 32]>::try_from(bytes.as_slice()));
            Ok(Upload {
                id: self.id,
                size: to_u64(self.size)?,
                committed: to_u64(self.committed)?,
                blake3: self.blake3.as_deref().map(parse_hash).transpose()?,
                sha256: sha256.transpose().map_err(|_| Error::Corrupt("a stored checksum is not one"))?,
                content: self.content.as_deref().map(parse_hash).transpose()?,
                create_time: self.create_time,
                expire_time: self.expire_time,
            })
        }
    }

    impl ActiveModel {
        pub(crate) fn of(project: ProjectId, upload: &Upload) -> Self {
            Self {
                id: Set(upload.id),
                project_id: Set(project.0),
                size: Set(to_i64(upload.size)),
                committed: Set(to_i64(upload.committed)),
                blake3: Set(upload.blake3.map(|hash| hash.to_hex().to_string())),
                sha256: Set(upload.sha256.map(|hash| hash.to_vec())),
                content: Set(upload.content.map(|hash| hash.to_hex().to_string())),
                create_time: Set(upload.create_time),
                expire_time: Set(upload.expire_time),
            }
        }
    }
}

/// The table `upload_piece`.
pub(crate) mod piece {
    use sea_orm::ActiveValue::Set;
    use sea_orm::entity::prelude::*;

    use crate::model::Piece;
    use crate::store::entity::to_i64;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "upload_piece")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) upload_id: Uuid,
        /// Its first byte's place.
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) start: i64,
        pub(crate) size: i64,
        /// Names the object that holds it.
        pub(crate) name: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl ActiveModel {
        pub(crate) fn of(upload: Uuid, piece: &Piece) -> Self {
            let (start, size) = (Set(to_i64(piece.start)), Set(to_i64(piece.size)));
            Self { upload_id: Set(upload), start, size, name: Set(piece.name) }
        }
    }
}
