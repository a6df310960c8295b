//! `slipway config`: what is in force, and where it comes from.

use slipway_settings::Loaded;

use crate::output::Out;
use crate::settings::Settings;

/// Prints the settings as TOML; secrets are masked.
pub(crate) fn config(loaded: &Loaded<Settings>, out: &Out) -> anyhow::Result<()> {
    let text = loaded.in_force();
    if out.is_json() {
        let mut table = toml::from_str::<toml::Table>(&text)?;
        if let Some(file) = &loaded.file {
            table.insert("file".to_owned(), file.display().to_string().into());
        }
        return out.line(serde_json::to_string(&table)?);
    }
    out.line(out.paint.dim(match &loaded.file {
        Some(file) => format!("# settings file: {}", file.display()),
        None => "# settings file: none".to_owned(),
    }))?;
    out.raw(text.as_bytes())
}
