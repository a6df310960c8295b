//! The settings of prices.

use serde::{Deserialize, Serialize};

/// `[inference.providers.<name>.prices.<model>]`: micro-units of US dollars for a million tokens.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSettings {
    /// Tokens of the request.
    pub input_micros: i64,
    /// Tokens of the answer.
    pub output_micros: i64,
    /// Tokens of the request that the provider had cached; absent: as other input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_micros: Option<i64>,
    /// Tokens of the request that the provider writes into its cache; absent: as other input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_micros: Option<i64>,
    /// Tokens of the request that are images; absent: as other input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_micros: Option<i64>,
    /// Tokens of the answer that are reasoning; absent: as other output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_micros: Option<i64>,
}

impl PriceSettings {
    pub(super) fn is_sane(&self) -> bool {
        let more = [self.cached_input_micros, self.cache_write_micros, self.image_micros, self.reasoning_micros];
        let all = [self.input_micros, self.output_micros].into_iter().chain(more.into_iter().flatten());
        // A thousand dollars for a thousand tokens.
        all.into_iter().all(|price| (0..=1_000_000_000_000).contains(&price))
    }
}
