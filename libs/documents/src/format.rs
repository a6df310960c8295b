//! The formats, by the ends of file names.

/// A format that text can be taken out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PDF (ISO 32000), its pages one after the other.
    Pdf,
    /// Word, Excel and PowerPoint (ECMA-376), as Markdown.
    Office,
    /// OpenDocument spreadsheets (ISO/IEC 26300), as Markdown tables.
    Sheets,
    /// OpenDocument texts and presentations.
    OpenDocument,
    /// HTML, without what is not shown.
    Html,
    /// Jupyter notebooks (nbformat 4), their cells and the text of their outputs, as Markdown.
    Notebook,
}

const ENDS: [(&str, Format); 10] = [
    ("pdf", Format::Pdf),
    ("docx", Format::Office),
    ("xlsx", Format::Office),
    ("pptx", Format::Office),
    ("ods", Format::Sheets),
    ("odt", Format::OpenDocument),
    ("odp", Format::OpenDocument),
    ("html", Format::Html),
    ("htm", Format::Html),
    ("ipynb", Format::Notebook),
];
const NAMES: [(&str, Format); 6] = [
    ("pdf", Format::Pdf),
    ("office", Format::Office),
    ("sheets", Format::Sheets),
    ("opendocument", Format::OpenDocument),
    ("html", Format::Html),
    ("notebook", Format::Notebook),
];

impl Format {
    /// The format of a file of this name, if it is one of these.
    pub fn of_path(path: &str) -> Option<Self> {
        let (_, end) = path.rsplit('/').next()?.rsplit_once('.')?;
        ENDS.iter().find(|(known, _)| end.eq_ignore_ascii_case(known)).map(|(_, format)| *format)
    }

    /// A stable name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// The format of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// Whether people read the file itself only by way of a program: its source says little.
    pub fn is_opaque(self) -> bool {
        self != Self::Html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_ends() {
        assert_eq!(Format::of_path("docs/Plan.DOCX"), Some(Format::Office));
        assert_eq!(Format::of_path("a.b/ports.ods"), Some(Format::Sheets));
        for none in ["", "pdf", "docs.pdf/readme", "values.yaml", "x.doc"] {
            assert_eq!(Format::of_path(none), None, "{none}");
        }
        for (name, format) in NAMES {
            assert_eq!((format.name(), Format::of_name(name)), (name, Some(format)));
        }
    }
}
