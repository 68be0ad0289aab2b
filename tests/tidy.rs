//! The shape of the code, kept: layers, no sockets below L4, sizes, names, unsafe and its reasons. Plain text scanning;
//! each rule is tried on bad snippets as well, for a rule that cannot fail keeps nothing.

#[path = "common/sources.rs"]
mod sources;

use std::fmt::Write as _;

use sources::{Source, sources};

const FOLDERS: [&str; 5] = ["src", "benches", "loadgen", "tests", "fuzz"];

/// A folder of src imports strictly lower layers, and itself.
const LAYERS: [(&str, u32); 12] = [
    ("base", 0),
    ("mqtt", 1),
    ("session", 2),
    ("routing", 2),
    ("access", 2),
    ("broker", 3),
    ("net", 4),
    ("mesh", 4),
    ("storage", 4),
    ("admin", 4),
    ("cluster", 4),
    ("server", 5),
];

/// Below this layer there is no socket, file, clock, thread or randomness.
const FIRST_DRIVER_LAYER: u32 = 4;

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 100;

/// Where `unsafe` may stand.
const UNSAFE_HOMES: [&str; 4] = ["src/net/", "src/mesh/", "src/main.rs", "benches/allocator.rs"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "manager", "misc"];

/// Words for work left undone; each needs the number of an issue, as in #12.
const DEBT_MARKS: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

// The rules, on the tree.

#[test]
fn every_folder_imports_lower_layers_only() {
    keep(layers);
}

#[test]
fn below_the_drivers_there_is_no_socket_file_clock_thread_or_randomness() {
    keep(sans_io);
}

#[test]
fn no_file_is_longer_than_800_lines() {
    keep(file_length);
}

#[test]
fn every_module_opens_with_what_it_is_for() {
    keep(opening);
}

#[test]
fn unsafe_stays_at_home_and_says_why_it_is_sound() {
    keep(unsafe_code);
}

#[test]
fn work_left_undone_has_an_issue() {
    keep(debt);
}

#[test]
fn names_say_what_is_inside() {
    keep(empty_names);
}

#[test]
fn no_test_is_ignored() {
    keep(ignored_tests);
}

#[test]
fn no_function_is_longer_than_100_lines() {
    let files = sources(&["src"], "rs");
    let mut lengths: Vec<_> =
        files.iter().flat_map(|file| functions(&lex(&file.text).tokens)).map(|function| function.lines).collect();
    lengths.sort_unstable();
    println!("{} functions, median {} lines", lengths.len(), lengths[lengths.len() / 2]);
    keep(function_length);
}

#[test]
fn files_import_each_other_in_one_direction() {
    let files = sources(&["src"], "rs");
    let found = circle(&files);
    assert!(found.is_empty(), "these import each other in a circle, move what they share out: {}", found.join(" -> "));
}

/// What breaks a rule: the line, and what to do about it.
type Finding = (usize, String);
type Rule = fn(&File<'_>) -> Vec<Finding>;

struct File<'a> {
    path: &'a str,
    text: &'a str,
    lexed: Lexed<'a>,
}

fn keep(rule: Rule) {
    let files = sources(&FOLDERS, "rs");
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the sources are not where they are looked for");
    let mut report = String::new();
    for Source { path, text } in &files {
        for (line, what) in rule(&File { path, text, lexed: lex(text) }) {
            let _ = write!(report, "\n{path}:{line}: {what}");
        }
    }
    assert!(report.is_empty(), "{report}\n");
}

// Layers.

fn layer(folder: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == folder).map(|(_, layer)| *layer)
}

/// `Some(folder)` for a file in a folder of src.
fn folder_of(path: &str) -> Option<&str> {
    path.strip_prefix("src/")?.split_once('/').map(|(folder, _)| folder)
}

fn layers(file: &File<'_>) -> Vec<Finding> {
    if !file.path.starts_with("src/") || matches!(file.path, "src/lib.rs" | "src/main.rs") {
        return Vec::new();
    }
    let Some(folder) = folder_of(file.path) else {
        return vec![(
            1,
            "only lib.rs and main.rs stand beside the folders: move it into the one it belongs to".into(),
        )];
    };
    let Some(own) = layer(folder) else {
        return vec![(1, format!("src/{folder} has no layer: give it one in LAYERS of tests/tidy.rs"))];
    };
    let mut findings = Vec::new();
    for Mention { line, segments } in mentions(file) {
        let ["crate", target, ..] = segments[..] else { continue };
        let advice = match layer(target) {
            _ if target == folder => continue,
            Some(other) if other < own => continue,
            Some(other) => format!("src/{folder} (L{own}) imports src/{target} (L{other}): only lower layers may be"),
            None => format!("crate::{target} is of no layer: import what you need from its own folder"),
        };
        findings.push((line, advice));
    }
    findings
}

/// A circle of files that import each other, tests apart; empty where there is none.
fn circle(files: &[Source]) -> Vec<String> {
    let imports: Vec<Vec<usize>> = files.iter().map(|file| imports_of(file, files)).collect();
    let mut is_done = vec![false; files.len()];
    for start in 0..files.len() {
        let mut way = Vec::new();
        if walk(start, &imports, &mut is_done, &mut way) {
            return way.iter().map(|&at| files[at].path.clone()).collect();
        }
    }
    Vec::new()
}

/// True: `way` ends where it was before.
fn walk(at: usize, imports: &[Vec<usize>], is_done: &mut [bool], way: &mut Vec<usize>) -> bool {
    if way.contains(&at) {
        way.push(at);
        return true;
    }
    way.push(at);
    if !is_done[at] && imports[at].iter().any(|&next| walk(next, imports, is_done, way)) {
        return true;
    }
    is_done[at] = true;
    way.pop();
    false
}

/// A folder's mod.rs declares and re-exports: it imports nothing in this sense.
fn imports_of(file: &Source, files: &[Source]) -> Vec<usize> {
    if file.path.ends_with("/mod.rs") || file.path == "src/lib.rs" {
        return Vec::new();
    }
    let text = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    let mentions = mentions(&File { path: &file.path, text, lexed: lex(text) });
    let paths = mentions.iter().filter(|mention| mention.segments.len() > 2 && mention.segments[0] == "crate");
    let paths = paths.map(|mention| format!("src/{}/{}.rs", mention.segments[1], mention.segments[2]));
    paths.filter_map(|path| files.iter().position(|other| other.path == path && path != file.path)).collect()
}

fn sans_io(file: &File<'_>) -> Vec<Finding> {
    if folder_of(file.path).and_then(layer).is_none_or(|layer| layer >= FIRST_DRIVER_LAYER) {
        return Vec::new();
    }
    let banned = |segments: &[&str]| {
        let pair = |a, b| segments.windows(2).any(|pair| pair == [a, b]);
        let any = |name| segments.contains(&name);
        match segments {
            _ if any("glommio") || any("tokio") => Some("an executor: take an input, leave an effect"),
            _ if pair("std", "net") => Some("sockets: bytes come in as arguments (mere addresses are in core::net)"),
            _ if pair("std", "fs") => Some("files: leave an effect for storage"),
            _ if any("SystemTime") || pair("Instant", "now") => Some("a clock: take `now` as an argument"),
            _ if pair("std", "thread") => Some("threads: leave an effect for the driver"),
            ["rand", _, ..] => Some("randomness: take a seed as an argument"),
            _ if any("getrandom") => Some("randomness: take a seed as an argument"),
            _ => None,
        }
    };
    mentions(file)
        .into_iter()
        .filter_map(|Mention { line, segments }| {
            let why = banned(&segments)?;
            Some((line, format!("{} below L4 is {why}", segments.join("::"))))
        })
        .collect()
}

// Sizes.

fn file_length(file: &File<'_>) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if lines <= FILE_LINES_MAX || file.path.starts_with("tests/") {
        return Vec::new();
    }
    vec![(lines, format!("{lines} lines: split it, {FILE_LINES_MAX} are the most (its tests can be a file too)"))]
}

fn function_length(file: &File<'_>) -> Vec<Finding> {
    if !file.path.starts_with("src/") {
        return Vec::new();
    }
    functions(&file.lexed.tokens)
        .into_iter()
        .filter(|function| function.lines > FUNCTION_LINES_MAX)
        .map(|Function { line, name, lines }| {
            (line, format!("fn {name} has {lines} lines: split it, {FUNCTION_LINES_MAX} are the most"))
        })
        .collect()
}

// Comments, names, unsafe, tests.

fn opening(file: &File<'_>) -> Vec<Finding> {
    if file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![(1, "open the module with `//!` lines that say what it is for".into())]
}

fn unsafe_code(file: &File<'_>) -> Vec<Finding> {
    let at_home = UNSAFE_HOMES.iter().any(|home| file.path.starts_with(home));
    let lines: Vec<&str> = file.text.lines().collect();
    let found = file.lexed.tokens.iter().filter(|token| token.text == "unsafe");
    if !at_home {
        let advice = format!("unsafe outside {}: find a safe way, or move it there", UNSAFE_HOMES.join(", "));
        return found.map(|token| (token.line, advice.clone())).collect();
    }
    found
        .filter(|token| !is_explained(&lines, token.line))
        .map(|token| (token.line, "say just before it, in a `// SAFETY:` comment, why this is sound".into()))
        .collect()
}

/// Whether the comment that ends just before the line, attributes apart, or on it, has a SAFETY section.
fn is_explained(lines: &[&str], line: usize) -> bool {
    let explains = |line: &str| line.split_once("//").is_some_and(|(_, text)| text.to_uppercase().contains("SAFETY"));
    let before = lines[..line - 1].iter().rev().map(|line| line.trim_start());
    let mut comment = before.take_while(|line| line.starts_with("//") || line.starts_with("#["));
    explains(lines[line - 1]) || comment.any(|line| line.starts_with("//") && explains(line))
}

fn debt(file: &File<'_>) -> Vec<Finding> {
    let has_issue = |text: &str| text.split('#').skip(1).any(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    let mark = |text: &str| text.split(|c: char| !c.is_alphanumeric()).find(|word| DEBT_MARKS.contains(word)).is_some();
    let comments = file.lexed.comments.iter().filter(|(_, text)| mark(text) && !has_issue(text));
    comments.map(|(line, _)| (*line, "do it now, or name the issue that will: `#12`".into())).collect()
}

fn empty_names(file: &File<'_>) -> Vec<Finding> {
    let Some(path) = file.path.strip_prefix("src/") else { return Vec::new() };
    let tokens = &file.lexed.tokens;
    let inside = tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| (pair[1].line, pair[1].text));
    let own = path.trim_end_matches(".rs").split('/').map(|name| (1, name));
    own.chain(inside)
        .filter(|(_, name)| name.split('_').any(|word| EMPTY_NAMES.contains(&word)))
        .map(|(line, name)| (line, format!("module {name}: name it by what it is about")))
        .collect()
}

fn ignored_tests(file: &File<'_>) -> Vec<Finding> {
    let tokens = &file.lexed.tokens;
    let attributes = (2..tokens.len()).filter(|at| tokens[at - 2].text == "#" && tokens[at - 1].text == "[");
    let ignored = attributes.filter(|&at| match tokens[at].text {
        "ignore" => true,
        "cfg_attr" => tokens[at..].iter().take_while(|token| token.text != "]").any(|token| token.text == "ignore"),
        _ => false,
    });
    ignored
        .map(|at| (tokens[at].line, "a test that does not run proves nothing: mend it or remove it".into()))
        .collect()
}

// Reading Rust, as far as the rules need it.

/// An identifier, a number, `::` or one character; comments, strings and lifetimes are none.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    line: usize,
    text: &'a str,
}

#[derive(Default)]
struct Lexed<'a> {
    tokens: Vec<Token<'a>>,
    /// Line by line, with the line's number.
    comments: Vec<(usize, &'a str)>,
}

fn lex(text: &str) -> Lexed<'_> {
    let mut lexed = Lexed::default();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (piece, is_token) = piece(rest, first);
        if piece.starts_with("//") || piece.starts_with("/*") {
            lexed.comments.extend(piece.lines().enumerate().map(|(index, text)| (line + index, text)));
        } else if is_token {
            lexed.tokens.push(Token { line, text: piece });
        }
        line += piece.matches('\n').count();
        rest = &rest[piece.len()..];
    }
    lexed
}

/// The next piece of the text, and whether it is a token.
fn piece(rest: &str, first: char) -> (&str, bool) {
    if first.is_whitespace() {
        return (&rest[..first.len_utf8()], false);
    }
    if rest.starts_with("//") {
        return (&rest[..rest.find('\n').unwrap_or(rest.len())], false);
    }
    if rest.starts_with("/*") {
        return (&rest[..block_comment_length(rest)], false);
    }
    if let Some(length) = literal_length(rest) {
        return (&rest[..length], false);
    }
    if first == '\'' {
        return (&rest[..1 + word_length(&rest[1..])], false);
    }
    match word_length(rest) {
        0 if rest.starts_with("::") => (&rest[..2], true),
        0 => (&rest[..first.len_utf8()], true),
        length => (&rest[..length], true),
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len())
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let (step, change) = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        (at, depth) = (at + step, depth + change);
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of the string or character that the text starts with.
fn literal_length(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let after = text.strip_prefix(prefix).map(|after| after.trim_start_matches('#'));
        after.is_some_and(|after| after.starts_with('"') || after.starts_with('\'') && !prefix.contains(['r', 'c']))
    })?;
    let body = &text[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    if prefix.ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        let opened = prefix.len() + hashes + 1;
        return Some(text[opened..].find(&end).map_or(text.len(), |at| opened + at + end.len()));
    }
    if hashes > 0 {
        return None;
    }
    let quote = body.chars().next()?;
    let mut characters = body.char_indices().skip(1);
    // A lifetime has no quote after its first character.
    if quote == '\'' && !body[1..].starts_with('\\') && body.chars().nth(2) != Some('\'') {
        return None;
    }
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            _ if character == quote => return Some(prefix.len() + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

struct Function<'a> {
    line: usize,
    name: &'a str,
    lines: usize,
}

/// Every function with a body, from its `fn` to its last brace.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<Function<'a>> {
    let named = |at: &usize| {
        tokens[*at].text == "fn" && tokens.get(at + 1).is_some_and(|name| word_length(name.text) == name.text.len())
    };
    let starts = (0..tokens.len()).filter(named);
    starts
        .filter_map(|start| {
            let end = body_end(&tokens[start..])?;
            let lines = tokens[start + end].line - tokens[start].line + 1;
            Some(Function { line: tokens[start].line, name: tokens[start + 1].text, lines })
        })
        .collect()
}

/// Where the function's last brace is; `None` for one that is only declared.
fn body_end(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            ";" if depth == 0 => return None,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// A path as it stands in the code, `use` trees taken apart; one that starts with `self`, `super` or the library's name
/// starts with `crate` here.
#[derive(Debug)]
struct Mention<'a> {
    line: usize,
    segments: Vec<&'a str>,
}

fn mentions<'a>(file: &File<'a>) -> Vec<Mention<'a>> {
    let tokens = &file.lexed.tokens;
    let mut module = module_of(file.path);
    // Modules within the file, by the depth of braces that they end at.
    let mut inner: Vec<i32> = Vec::new();
    let (mut found, mut depth, mut at) = (Vec::new(), 0, 0);
    while at < tokens.len() {
        match tokens[at].text {
            "mod" if tokens.get(at + 2).is_some_and(|brace| brace.text == "{") => {
                module.push(tokens[at + 1].text);
                inner.push(depth);
                (depth, at) = (depth + 1, at + 3);
            }
            "{" => (depth, at) = (depth + 1, at + 1),
            "}" => {
                (depth, at) = (depth - 1, at + 1);
                if inner.last() == Some(&depth) {
                    inner.pop();
                    module.pop();
                }
            }
            // What a path may follow without being its beginning: `use ::std::fs`.
            "use" | "as" | "in" | "dyn" | "impl" | "mut" | "return" | "else" | "match" | "if" | "for" => at += 1,
            text if word_length(text) > 0 => at = take_path(tokens, at, &module, Vec::new(), &mut found),
            _ => at += 1,
        }
    }
    found
}

/// `src/access/scram.rs` is `crate::access::scram`.
fn module_of(path: &str) -> Vec<&str> {
    let names = path.trim_start_matches("src/").trim_end_matches(".rs").split('/');
    std::iter::once("crate").chain(names.filter(|name| !matches!(*name, "mod" | "lib" | "main"))).collect()
}

/// Takes the path, or the part of a `use` tree, that starts at `at` and goes on from `prefix`; says where it ends.
fn take_path<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    module: &[&'a str],
    prefix: Vec<&'a str>,
    found: &mut Vec<Mention<'a>>,
) -> usize {
    let mut segments = prefix;
    let line = tokens[at].line;
    loop {
        match tokens.get(at).map_or("", |token| token.text) {
            "{" => return take_tree(tokens, at + 1, module, &segments, found),
            "crate" => segments = vec!["crate"],
            "thrum" if segments.is_empty() && is(tokens, at + 1, "::") => segments.push("crate"),
            "self" if segments.is_empty() && is(tokens, at + 1, "::") => segments = module.to_vec(),
            "self" => {}
            "super" => {
                if segments.is_empty() {
                    segments = module.to_vec();
                }
                if segments.len() > 1 {
                    segments.pop();
                }
            }
            text if text == "*" || word_length(text) > 0 => segments.push(text),
            // What follows `::` may be generic: `Vec::<u8>::new`.
            _ => break,
        }
        at += 1;
        if !is(tokens, at, "::") {
            break;
        }
        at += 1;
    }
    found.push(Mention { line, segments });
    at
}

fn take_tree<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    module: &[&'a str],
    prefix: &[&'a str],
    found: &mut Vec<Mention<'a>>,
) -> usize {
    while at < tokens.len() && !is(tokens, at, "}") {
        at = if is(tokens, at, ",") { at + 1 } else { take_path(tokens, at, module, prefix.to_vec(), found) };
        if is(tokens, at, "as") {
            at += 2;
        }
    }
    at + 1
}

fn is(tokens: &[Token<'_>], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

// The rules, on snippets that break them.

/// The lines that the rule finds in the text, were it the file at the path.
fn found(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    rule(&File { path, text, lexed: lex(text) }).into_iter().map(|(line, _)| line).collect()
}

#[test]
fn an_import_upward_or_sideways_is_found_however_it_is_written() {
    for bad in [
        "use crate::broker::ShardCore;",
        "use crate::routing;",
        "fn f() { crate::routing::f() }",
        "use crate::{base::ids, routing::Index};",
        "use crate::{base::{self, ids}, mqtt::*, broker as b};",
        "use crate::*;",
        "use super::super::routing::Index;",
        "use super::{super::routing, guard};",
        "use super::super::{base, routing};",
        "mod tests { use super::super::super::routing::Index; }",
        "fn f() -> thrum::routing::Index { g() }",
        "use ::thrum::routing::Index;",
        "pub(in crate::routing) fn f() {}",
        "type T = Vec<crate::session::Session>;",
        "macro_rules! m { () => { $crate::net::f() } }",
        "use crate::unheard_of::X;",
    ] {
        assert_eq!(found(layers, "src/access/scram.rs", bad), [1], "{bad}");
    }
    assert_eq!(found(layers, "src/access/mod.rs", "\nuse super::routing::Index;\nuse super::*;"), [2, 3]);
    assert_eq!(found(layers, "src/base/ids.rs", "use crate::mqtt::X;"), [1]);
    assert_eq!(found(layers, "src/net/tls.rs", "use crate::mesh::X;"), [1]);
    assert_eq!(found(layers, "src/session/mod.rs", "use crate::access::X;"), [1]);
    assert_eq!(found(layers, "src/newcomer/mod.rs", ""), [1]);
    assert_eq!(found(layers, "src/stray.rs", ""), [1]);
}

#[test]
fn a_circle_of_files_is_found() {
    let file = |name: &str, text: &str| Source { path: format!("src/mqtt/{name}.rs"), text: text.into() };
    let mut files =
        vec![file("a", "use super::b::B;"), file("b", "use crate::mqtt::c;\nfn f() { super::c::g() }"), file("c", "")];
    assert!(circle(&files).is_empty());
    files[2].text = "#[cfg(test)] mod tests { use super::super::a::A; }".into();
    assert!(circle(&files).is_empty());
    files[2].text = "use super::{a::A, d};".into();
    assert_eq!(circle(&files), ["src/mqtt/a.rs", "src/mqtt/b.rs", "src/mqtt/c.rs", "src/mqtt/a.rs"]);
}

#[test]
fn an_import_of_a_lower_layer_or_of_ones_own_is_not_found() {
    for good in [
        "use crate::base::limits::{A, B};",
        "use crate::{base::ids, mqtt::{TopicName, reason}, access::guard};",
        "use super::guard::Guard;",
        "use super::{guard, super::access::open};",
        "mod tests { use super::*; use super::super::guard; }",
        "mod a { mod b { use super::super::super::guard; } }\nuse super::guard;",
        "pub(crate) struct S; // crate::routing\n/* crate::net */ const T: &str = \"crate::net\";",
        "const C: char = '\"'; const T: &str = r#\"\" crate::net \"#; fn f<'a>(x: &'a str) {}",
        "fn f() { let thrum = self.thrum; Vec::<u8>::new() }",
    ] {
        assert_eq!(found(layers, "src/access/scram.rs", good), [], "{good}");
    }
    assert_eq!(found(layers, "src/main.rs", "use crate::net::X;"), []);
    assert_eq!(found(layers, "src/server/mod.rs", "use crate::net::X; use crate::broker::Y;"), []);
}

#[test]
fn a_driver_below_the_drivers_is_found() {
    for bad in [
        "use glommio::Task;",
        "fn f() { tokio::spawn(g()) }",
        "use std::net::TcpStream;",
        "use std::{io, net::TcpStream};",
        "use std::{fs, io};",
        "fn f() { ::std::fs::read(p) }",
        "use std::time::SystemTime;",
        "fn f() { let now = std::time::Instant::now(); }",
        "fn f() { Instant::now() }",
        "fn f() { std::thread::spawn(g) }",
        "fn f() -> u32 { rand::random() }",
        "fn f() { getrandom::fill(b) }",
    ] {
        assert_eq!(found(sans_io, "src/broker/mod.rs", bad), [1], "{bad}");
        assert_eq!(found(sans_io, "src/net/mod.rs", bad), [], "{bad}");
    }
    for good in ["use std::io::Write;", "use core::net::IpAddr;", "let rand = 1; // tokio", "use std::time::Duration;"]
    {
        assert_eq!(found(sans_io, "src/broker/mod.rs", good), [], "{good}");
    }
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(found(file_length, "src/mqtt/decode.rs", &"\n".repeat(801)), [801]);
    assert_eq!(found(file_length, "benches/codec.rs", &"\n".repeat(801)), [801]);
    assert_eq!(found(file_length, "src/mqtt/decode.rs", &"\n".repeat(800)), []);
    assert_eq!(found(file_length, "tests/sim/main.rs", &"\n".repeat(801)), []);
}

#[test]
fn a_long_function_is_found() {
    let long =
        |lines: usize| format!("fn short() {{}}\nfn long<const N: usize>(a: [u8; 4]) {{{}}}\n", "\n".repeat(lines));
    assert_eq!(found(function_length, "src/mqtt/decode.rs", &long(100)), [2]);
    assert_eq!(found(function_length, "src/mqtt/decode.rs", &long(99)), []);
    assert_eq!(found(function_length, "tests/sim/main.rs", &long(100)), []);
    let declared = format!("trait T {{ fn f(&self);{}}}\ntype F = fn();{}", "\n".repeat(101), "\n".repeat(101));
    assert_eq!(found(function_length, "src/mqtt/decode.rs", &declared), []);
    let braces = format!("fn f() {{ let a = '}}'; let b = \"}}\"; // }}\n{}}}", "\n".repeat(100));
    assert_eq!(found(function_length, "src/mqtt/decode.rs", &braces), [1]);
}

#[test]
fn a_module_without_an_opening_is_found() {
    for bad in ["", "use std::fmt;\n//! Late.", "// Not a module's comment.", "/// Neither.\nmod a;"] {
        assert_eq!(found(opening, "fuzz/fuzz_targets/decode.rs", bad), [1], "{bad}");
    }
    assert_eq!(found(opening, "src/lib.rs", "//! What it is for.\n"), []);
}

#[test]
fn unsafe_away_from_home_or_without_a_reason_is_found() {
    let reasoned = "// SAFETY: nobody else has it.\nunsafe { f() }";
    assert_eq!(found(unsafe_code, "src/net/poller.rs", reasoned), []);
    assert_eq!(found(unsafe_code, "benches/allocator.rs", reasoned), []);
    for away in
        ["src/broker/mod.rs", "src/storage/wal.rs", "tests/sim/main.rs", "benches/codec.rs", "src/network/mod.rs"]
    {
        assert_eq!(found(unsafe_code, away, reasoned), [2], "{away}");
    }
    for bad in [
        "unsafe { f() }",
        "unsafe impl Send for S {}",
        "unsafe fn f() {}",
        "// SAFETY: too far away.\n\nunsafe { f() }",
        "// SAFETY: of something else.\nlet x = 1;\nunsafe { f() }",
        "// It will be fine.\nunsafe { f() }",
        "let text = \"SAFETY\"; unsafe { f() }",
    ] {
        assert_eq!(found(unsafe_code, "src/net/poller.rs", bad), [bad.lines().count()], "{bad}");
    }
    for good in [
        "// SAFETY: a reason\n// of two lines.\nunsafe impl Send for S {}",
        "/// # Safety\n/// The caller keeps it alive.\n#[inline]\nunsafe fn f() {}",
        "let x = unsafe { f() }; // SAFETY: a reason.",
        "// unsafe\nlet x = \"unsafe\"; #![deny(unsafe_code)]",
    ] {
        assert_eq!(found(unsafe_code, "src/mesh/ring.rs", good), [], "{good}");
    }
}

#[test]
fn debt_without_an_issue_is_found() {
    for mark in DEBT_MARKS {
        for path in ["src/lib.rs", "tests/sim/main.rs"] {
            assert_eq!(found(debt, path, &format!("\n// {mark}: some day")), [2], "{mark}");
            assert_eq!(found(debt, path, &format!("\n/* first\n {mark}(me) # later */")), [3], "{mark}");
            assert_eq!(found(debt, path, &format!("// {mark}: #12, some day\nlet a = \"{mark}\"; // {mark}S")), []);
        }
    }
}

#[test]
fn a_name_that_says_nothing_is_found() {
    for path in ["src/util.rs", "src/base/helpers.rs", "src/misc/mod.rs", "src/session/session_manager.rs"] {
        assert_eq!(found(empty_names, path, ""), [1], "{path}");
    }
    assert_eq!(found(empty_names, "src/base/ids.rs", "\nmod common { }\npub mod utils;"), [2, 3]);
    assert_eq!(found(empty_names, "src/base/uncommon.rs", "mod utility { }"), []);
    assert_eq!(found(empty_names, "tests/common/sources.rs", "mod common;"), []);
}

#[test]
fn an_ignored_test_is_found() {
    for bad in ["#[ignore]", "#[ignore = \"slow\"]", "# [ ignore ]", "#[cfg_attr(debug_assertions, ignore)]"] {
        assert_eq!(found(ignored_tests, "tests/a.rs", &format!("#[test]\n{bad}\nfn f() {{}}")), [2], "{bad}");
    }
    assert_eq!(found(ignored_tests, "tests/a.rs", "// #[ignore]\nlet a = \"#[ignore]\"; b[ignore]; #[allow(x)]"), []);
}
