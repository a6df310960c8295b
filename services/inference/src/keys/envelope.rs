//! A provider's key as it lies in the database: encrypted with a key of its own, which is wrapped by the `Kms`.
//!
//! Both layers are bound to the project, the provider and the row, so that a row that is copied to another place opens nothing.

use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use slipway_rpc::ProjectId;
use uuid::Uuid;

use super::kms::{DataKey, KEY_BYTES, Kms, KmsError, Wrapped, open, seal};
use crate::model::Sealed;

/// What a key belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// Whose it is.
    pub(crate) project: ProjectId,
    /// The provider that it is for.
    pub(crate) provider: &'a str,
    /// Its row.
    pub(crate) id: Uuid,
}

impl Owner<'_> {
    fn bound_to(&self) -> Vec<u8> {
        format!("slipway provider key v1\n{}\n{}\n{}", self.project, self.provider, self.id).into_bytes()
    }
}

/// Encrypts a key.
pub(crate) async fn encrypt(kms: &dyn Kms, owner: Owner<'_>, key: &SecretString) -> Result<Sealed, KmsError> {
    let bound_to = owner.bound_to();
    let data_key: DataKey = SecretBox::new(Box::new(rand::random::<[u8; KEY_BYTES]>()));
    let wrapped = kms.wrap(&data_key, &bound_to).await?;
    let bytes = seal(&data_key, key.expose_secret().as_bytes(), &bound_to);
    let bytes = bytes.ok_or_else(|| KmsError::Mismatch(wrapped.kek_id.clone()))?;
    Ok(Sealed { kek_id: wrapped.kek_id, wrapped: wrapped.bytes, bytes })
}

/// The key again.
pub(crate) async fn decrypt(kms: &dyn Kms, owner: Owner<'_>, sealed: &Sealed) -> Result<SecretString, KmsError> {
    let bound_to = owner.bound_to();
    let wrapped = Wrapped { kek_id: sealed.kek_id.clone(), bytes: sealed.wrapped.clone() };
    let data_key = kms.unwrap(&wrapped, &bound_to).await?;
    let plain = open(&data_key, &sealed.bytes, &bound_to).and_then(|bytes| String::from_utf8(bytes).ok());
    plain.map(SecretString::from).ok_or(KmsError::Mismatch(wrapped.kek_id))
}

/// The same key, whose own key is wrapped with the key-encryption key in use.
pub(crate) async fn rewrap(kms: &dyn Kms, owner: Owner<'_>, sealed: &Sealed) -> Result<Sealed, KmsError> {
    let bound_to = owner.bound_to();
    let wrapped = Wrapped { kek_id: sealed.kek_id.clone(), bytes: sealed.wrapped.clone() };
    let data_key = kms.unwrap(&wrapped, &bound_to).await?;
    let Wrapped { kek_id, bytes } = kms.wrap(&data_key, &bound_to).await?;
    Ok(Sealed { kek_id, wrapped: bytes, bytes: sealed.bytes.clone() })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::keys::kms::LocalKms;
    use crate::settings::KeysSettings;

    fn kek(byte: u8) -> SecretString {
        STANDARD.encode([byte; KEY_BYTES]).into()
    }

    fn kms(first: Option<u8>, old: &[u8]) -> LocalKms {
        let old_encryption_keys = old.iter().map(|b| kek(*b)).collect();
        LocalKms::new(&KeysSettings { encryption_key: first.map(kek), old_encryption_keys })
    }

    fn owner(id: Uuid) -> Owner<'static> {
        Owner { project: ProjectId(Uuid::nil()), provider: "openai", id }
    }

    #[tokio::test]
    async fn a_key_comes_back_as_it_went_and_looks_different_each_time() {
        let (kms, owner) = (kms(Some(1), &[]), owner(Uuid::now_v7()));
        let key = SecretString::from("sk-planted");
        let (one, two) = (encrypt(&kms, owner, &key).await.unwrap(), encrypt(&kms, owner, &key).await.unwrap());
        assert_ne!(one.bytes, two.bytes);
        assert_ne!(one.wrapped, two.wrapped);
        assert!(!one.bytes.windows(7).any(|w| w == b"planted"));
        assert_eq!(decrypt(&kms, owner, &one).await.unwrap().expose_secret(), "sk-planted");
    }

    #[tokio::test]
    async fn a_row_of_elsewhere_does_not_open() {
        let (kms, mine) = (kms(Some(1), &[]), owner(Uuid::now_v7()));
        let sealed = encrypt(&kms, mine, &"sk".into()).await.unwrap();
        let others = [
            owner(Uuid::now_v7()),
            Owner { provider: "anthropic", ..mine },
            Owner { project: ProjectId(Uuid::now_v7()), ..mine },
        ];
        for other in others {
            assert!(matches!(decrypt(&kms, other, &sealed).await.unwrap_err(), KmsError::Mismatch(_)), "{other:?}");
        }
        let mut changed = sealed.clone();
        *changed.bytes.last_mut().unwrap() ^= 1;
        assert!(matches!(decrypt(&kms, mine, &changed).await.unwrap_err(), KmsError::Mismatch(_)));
        changed.bytes.truncate(5);
        assert!(decrypt(&kms, mine, &changed).await.is_err());
    }

    #[tokio::test]
    async fn key_encryption_keys_are_rotated_and_a_missing_one_is_named() {
        let owner = owner(Uuid::now_v7());
        let sealed = encrypt(&kms(Some(1), &[]), owner, &"sk".into()).await.unwrap();
        let rotated = kms(Some(2), &[1]);
        assert_eq!(decrypt(&rotated, owner, &sealed).await.unwrap().expose_secret(), "sk");
        let anew = encrypt(&rotated, owner, &"sk".into()).await.unwrap();
        assert_ne!(anew.kek_id, sealed.kek_id);
        let again = rewrap(&rotated, owner, &sealed).await.unwrap();
        assert_eq!((&again.kek_id, &again.bytes), (&anew.kek_id, &sealed.bytes));
        assert_eq!(decrypt(&kms(Some(2), &[]), owner, &again).await.unwrap().expose_secret(), "sk");
        let wrong = decrypt(&kms(Some(2), &[]), owner, &sealed).await.unwrap_err();
        assert_eq!(wrong, KmsError::Unknown(sealed.kek_id.clone()));
        assert!(wrong.to_string().contains(&sealed.kek_id), "{wrong}");
        let none = encrypt(&kms(None, &[]), owner, &"sk".into()).await.unwrap_err();
        assert!(none.to_string().contains("SLIPWAY_INFERENCE__KEYS__ENCRYPTION_KEY"), "{none}");
    }
}
