//! Tables: aligned columns, a quiet header, wrapped to the terminal.

use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, presets};

use super::Paint;

/// What a table is wide at most where there is no terminal to ask.
const WIDTH: u16 = 110;
const ID: &str = "id";

/// A table under construction.
pub(crate) struct Table {
    table: comfy_table::Table,
    /// Columns to cut at the left: without a frame there is nothing to keep a distance from.
    margin: usize,
}

impl Table {
    /// Columns without lines, for lists.
    pub(crate) fn plain(header: &[&str], paint: Paint) -> Self {
        Self::new(presets::NOTHING, 1, header, paint)
    }

    /// With a frame, for what deserves a look.
    pub(crate) fn framed(header: &[&str], paint: Paint) -> Self {
        Self::new(presets::UTF8_FULL_CONDENSED.with_rounded_corners(), 0, header, paint)
    }

    fn new(style: comfy_table::TableStyle, margin: usize, header: &[&str], paint: Paint) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(style).set_content_arrangement(ContentArrangement::Dynamic);
        if paint.on() {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        if table.width().is_none() {
            table.set_width(WIDTH);
        }
        let cell = |text: &&str| {
            let cell = Cell::new(text);
            if paint.on() { cell.add_attribute(Attribute::Dim) } else { cell }
        };
        table.set_header(header.iter().map(cell));
        // An id is there to be copied: it stays on one line, and other columns give way.
        if let Some(column) = header.iter().position(|text| *text == ID).and_then(|at| table.column_mut(at)) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        Self { table, margin }
    }

    /// One more row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells);
    }

    /// The text, without spaces at the ends of its lines.
    pub(crate) fn text(&self) -> String {
        let cut = |line: String| line.get(self.margin..).unwrap_or_default().trim_end().to_owned();
        self.table.lines().map(cut).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::plain(&["id", "name"], Paint::new(false));
        table.row(["1".into(), "a".into()]);
        table.row(["100".into(), "b".into()]);
        let text = table.text();
        let column: Vec<_> = text.lines().map(|l| l.trim_end().chars().count()).collect();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert_eq!(column[1], column[2], "{text}");
    }

    #[test]
    fn an_id_is_never_broken() {
        let id = "01a2143f-f04e-7131-bab8-cf5fd6e7a7ac";
        let mut table = Table::plain(&["id", "title", "stored", "replaced"], Paint::new(false));
        let long = "a title with many words ".repeat(5);
        table.row([id.into(), long, "2026-11-25 19:47:44".into(), "2026-11-25 19:47:44".into()]);
        let text = table.text();
        assert!(text.contains(id), "{text}");
    }
}
