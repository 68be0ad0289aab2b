//! The project's own files, as the tests that read them see them: `tidy` and `normative`.

use std::fs;
use std::path::Path;

#[derive(Debug)]
pub(crate) struct Source {
    /// From the project's root: `src/base/ids.rs`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every file with the extension below the folders, by name; a folder that is not there has none.
pub(crate) fn sources(folders: &[&str], extension: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        collect(root, &root.join(folder), extension, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, folder: &Path, extension: &str, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(root, &path, extension, found);
        } else if path.extension().is_some_and(|of_file| of_file == extension) {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let path = path.strip_prefix(root).expect("below the root").display().to_string();
            found.push(Source { path, text });
        }
    }
}
