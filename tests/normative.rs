//! Coverage of the specifications: every normative statement that binds a server is cited where it is enforced and where
//! it is tested, or is an exception with a reason. The statements are in tests/normative/, a citation is the id in
//! brackets.

#[path = "common/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sources::{Source, sources};

#[test]
fn every_statement_is_enforced_and_tested_or_has_a_reason() {
    let statements = [
        statements(Version::V5, "tests/normative/v5.0.txt", &list("v5.0.txt")),
        statements(Version::V3, "tests/normative/v3.1.1.txt", &list("v3.1.1.txt")),
    ]
    .concat();
    let exceptions = exceptions("tests/normative/exceptions.txt", &list("exceptions.txt"));
    let mut citations = Citations::default();
    // This file's examples are not citations.
    for file in sources(&["src", "tests"], "rs").iter().filter(|file| file.path != "tests/normative.rs") {
        citations.take_rust(file);
    }
    for file in sources(&["tests/vectors"], "txt") {
        citations.take(&file, |_| true);
    }
    let report = judge(&statements, &exceptions, &citations);
    println!("{}", report.coverage);
    let problems = &report.problems;
    assert!(problems.is_empty(), "{}\n{} to mend; {}", problems.join("\n"), problems.len(), report.coverage);
}

fn list(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/normative").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    V5,
    V3,
}

#[derive(Clone, Debug)]
struct Statement {
    version: Version,
    id: String,
    binds_server: bool,
    /// The statement of 5.0 that says the same; what is cited there counts here.
    same_as: Option<String>,
    text: String,
}

/// The lines of a list that are not comments, taken apart, with the place of each.
fn rows<'a>(path: &'a str, text: &'a str) -> impl Iterator<Item = (String, Vec<&'a str>)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(move |(index, line)| (format!("{path}:{}", index + 1), line.split('\t').collect()))
}

fn statements(version: Version, path: &str, text: &str) -> Vec<Statement> {
    rows(path, text)
        .map(|(place, row)| {
            let (id, binds, same_as, text) = match (version, &row[..]) {
                (Version::V5, [id, binds, text]) if id.starts_with("MQTT-") => (id, binds, None, text),
                (Version::V3, [id, binds, same_as, text]) if id.starts_with("MQTT3-") => {
                    (id, binds, Some(same_as), text)
                }
                _ => panic!("{place}: not the fields of a statement"),
            };
            assert!(["server", "both", "client"].contains(binds), "{place}: {binds} binds nobody");
            let same_as = same_as.filter(|id| **id != "-").map(ToString::to_string);
            let (id, text) = (id.to_string(), text.to_string());
            Statement { version, id, binds_server: *binds != "client", same_as, text }
        })
        .collect()
}

fn exceptions(path: &str, text: &str) -> BTreeMap<String, String> {
    let mut exceptions = BTreeMap::new();
    for (place, row) in rows(path, text) {
        let [id, reason] = row[..] else { panic!("{place}: not an id and a reason") };
        assert!(!reason.trim().is_empty(), "{place}: an exception has a reason");
        assert!(exceptions.insert(id.to_owned(), place.clone()).is_none(), "{place}: {id} is an exception already");
    }
    exceptions
}

/// Where each statement is cited.
#[derive(Default)]
struct Citations {
    code: BTreeSet<String>,
    test: BTreeSet<String>,
    /// By id, for those that turn out to be none.
    places: BTreeMap<String, String>,
}

impl Citations {
    fn take_rust(&mut self, file: &Source) {
        let is_test = format!("/{}", file.path).contains("/tests/") || file.path.ends_with("/tests.rs");
        let test_lines = test_lines(&file.text);
        self.take(file, |line| is_test || test_lines.contains(&line));
    }

    fn take(&mut self, file: &Source, is_test: impl Fn(usize) -> bool) {
        for (index, line) in file.text.lines().enumerate() {
            for id in cited(line) {
                let of_kind = if is_test(index) { &mut self.test } else { &mut self.code };
                of_kind.insert(id.to_owned());
                self.places.entry(id.to_owned()).or_insert_with(|| format!("{}:{}", file.path, index + 1));
            }
        }
    }
}

/// What stands in brackets and begins like an id; `MQTT-x` is how a text speaks of any.
fn cited(line: &str) -> impl Iterator<Item = &str> {
    line.split('[').skip(1).filter_map(|after| {
        let id = after.split(']').next()?;
        let number = id.strip_prefix("MQTT-").or_else(|| id.strip_prefix("MQTT3-"))?;
        number.starts_with(|first: char| first.is_ascii_digit()).then_some(id)
    })
}

/// The lines, from 0, of what is compiled for tests only. They are where rustfmt puts them: an item of several lines
/// ends with the first brace as far left as it began.
fn test_lines(text: &str) -> BTreeSet<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = BTreeSet::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if !line.trim_start().starts_with("#[cfg(test)]") {
            continue;
        }
        let head = (start + 1..lines.len()).find(|&at| !lines[at].trim_start().starts_with("#[")).unwrap_or(start);
        let on_one_line = lines[head].ends_with(';') || lines[head].ends_with('}');
        let is_end = |&at: &usize| lines[at].starts_with(&format!("{}}}", &line[..indent]));
        let end = if on_one_line { head } else { (head..lines.len()).find(is_end).unwrap_or(lines.len() - 1) };
        found.extend(start..=end);
    }
    found
}

struct Report {
    problems: Vec<String>,
    coverage: String,
}

fn judge(statements: &[Statement], exceptions: &BTreeMap<String, String>, citations: &Citations) -> Report {
    let by_id: BTreeMap<&str, &Statement> = statements.iter().map(|statement| (&*statement.id, statement)).collect();
    let mut problems = Vec::new();
    if by_id.len() < statements.len() {
        problems.push("the lists have an id twice".to_owned());
    }
    for statement in statements {
        if let Some(same_as) = statement.same_as.as_ref().filter(|same_as| !by_id.contains_key(same_as.as_str())) {
            problems.push(format!("{}: same as {same_as}, which is in no list", statement.id));
        }
    }
    for (id, place) in citations.places.iter().filter(|(id, _)| !by_id.contains_key(id.as_str())) {
        problems.push(format!("{place}: [{id}] is no statement: one id of tests/normative stands in brackets"));
    }
    for (id, place) in exceptions {
        match by_id.get(id.as_str()).map(|statement| (statement.binds_server, standing(statement, citations))) {
            None => problems.push(format!("{place}: {id} is no statement")),
            Some((false, _)) => problems.push(format!("{place}: {id} binds only clients: remove it here")),
            Some((_, Standing { code: true, test: true })) => {
                problems.push(format!("{place}: {id} is cited in the code and in a test: remove it here"));
            }
            Some(_) => {}
        }
    }
    for statement in statements.iter().filter(|statement| statement.binds_server) {
        // Then it is the statement of 5.0 that misses something, and says so.
        let same = statement.same_as.as_ref().and_then(|id| by_id.get(id.as_str()));
        let is_said = same.is_some_and(|same| same.binds_server);
        if let Some(missing) = standing(statement, citations).missing()
            && !is_excepted(statement, exceptions)
            && !is_said
        {
            problems.push(format!("{} {missing}: {}", statement.id, statement.text));
        }
    }
    Report { problems, coverage: coverage(statements, exceptions, citations) }
}

#[derive(Clone, Copy)]
struct Standing {
    code: bool,
    test: bool,
}

impl Standing {
    fn missing(self) -> Option<&'static str> {
        match (self.code, self.test) {
            (true, true) => None,
            (true, false) => Some("is in no test"),
            (false, true) => Some("is not in the code"),
            (false, false) => Some("is neither in the code nor in a test"),
        }
    }
}

/// Where the statement is cited, by its own id or by that of 5.0.
fn standing(statement: &Statement, citations: &Citations) -> Standing {
    let is_in = |ids: &BTreeSet<String>| {
        ids.contains(&statement.id) || statement.same_as.as_ref().is_some_and(|same_as| ids.contains(same_as))
    };
    Standing { code: is_in(&citations.code), test: is_in(&citations.test) }
}

fn is_excepted(statement: &Statement, exceptions: &BTreeMap<String, String>) -> bool {
    exceptions.contains_key(&statement.id)
        || statement.same_as.as_ref().is_some_and(|same_as| exceptions.contains_key(same_as))
}

fn coverage(statements: &[Statement], exceptions: &BTreeMap<String, String>, citations: &Citations) -> String {
    let mut text = String::from("normative statements that bind a server");
    for (version, name) in [(Version::V5, "5.0"), (Version::V3, "3.1.1")] {
        let of_version = statements.iter().filter(|statement| statement.version == version && statement.binds_server);
        let (mut all, mut held, mut code, mut test, mut excepted) = (0, 0, 0, 0, 0);
        for statement in of_version {
            let standing = standing(statement, citations);
            let is_excepted = is_excepted(statement, exceptions);
            all += 1;
            held += usize::from(is_excepted || standing.missing().is_none());
            code += usize::from(standing.code);
            test += usize::from(standing.test);
            excepted += usize::from(is_excepted);
        }
        let _ = write!(text, "; {name}: {held} of {all} held, {code} in code, {test} in tests, {excepted} exceptions");
    }
    text
}

// The judge, judged.

const V5: &str = "# comment\n\
    MQTT-1.0.0-1\tserver\tFirst.\n\
    MQTT-1.0.0-2\tboth\tSecond.\n\
    MQTT-1.0.0-3\tclient\tThird.\n";
const V3: &str = "MQTT3-1.0.0-1\tserver\tMQTT-1.0.0-1\tFirst of old.\n\
    MQTT3-1.0.0-3\tboth\tMQTT-1.0.0-3\tThird of old.\n\
    MQTT3-2.0.0-1\tserver\t-\tOld only.\n";

/// What is wrong where the code and the tests cite these, with these exceptions.
fn problems(code: &str, test: &str, excepted: &str) -> Vec<String> {
    let statements = [statements(Version::V5, "v5", V5), statements(Version::V3, "v3", V3)].concat();
    let mut citations = Citations::default();
    citations.take_rust(&Source { path: "src/a.rs".to_owned(), text: code.to_owned() });
    citations.take_rust(&Source { path: "tests/a.rs".to_owned(), text: test.to_owned() });
    judge(&statements, &exceptions("exceptions", excepted), &citations).problems
}

const ALL: &str = "[MQTT-1.0.0-1] [MQTT-1.0.0-2]\n[MQTT3-1.0.0-3] text [MQTT3-2.0.0-1]";

#[test]
fn a_statement_that_is_cited_in_both_or_excepted_is_held() {
    assert_eq!(problems(ALL, ALL, ""), [""; 0]);
    let but_one = ALL.replace("[MQTT3-2.0.0-1]", "");
    assert_eq!(problems(ALL, &but_one, "MQTT3-2.0.0-1\tA reason."), [""; 0]);
    // What is said of 5.0 is said of the same statement in 3.1.1, though it binds only clients in 5.0.
    let by_new_id = ALL.replace("[MQTT3-1.0.0-3]", "[MQTT-1.0.0-3]");
    assert_eq!(problems(&by_new_id, &by_new_id, ""), [""; 0]);
}

#[test]
fn a_statement_without_citation_says_what_is_missing() {
    let without = |id: &str| ALL.replace(&format!("[{id}]"), "");
    assert_eq!(problems(ALL, &without("MQTT-1.0.0-1"), ""), ["MQTT-1.0.0-1 is in no test: First."]);
    assert_eq!(problems(&without("MQTT-1.0.0-2"), ALL, ""), ["MQTT-1.0.0-2 is not in the code: Second."]);
    assert_eq!(problems(&without("MQTT3-1.0.0-3"), ALL, ""), ["MQTT3-1.0.0-3 is not in the code: Third of old."]);
    let neither = without("MQTT3-2.0.0-1");
    assert_eq!(problems(&neither, &neither, ""), ["MQTT3-2.0.0-1 is neither in the code nor in a test: Old only."]);
}

#[test]
fn a_citation_of_nothing_and_a_stale_exception_are_found() {
    let wrong = format!("{ALL}\n[MQTT-9.0.0-1]\n[MQTT-1.0.0-1, MQTT-1.0.0-2] [MQTT-x]");
    assert_eq!(
        problems(&wrong, ALL, ""),
        [
            "src/a.rs:4: [MQTT-1.0.0-1, MQTT-1.0.0-2] is no statement: one id of tests/normative stands in brackets",
            "src/a.rs:3: [MQTT-9.0.0-1] is no statement: one id of tests/normative stands in brackets",
        ]
    );
    assert_eq!(
        problems(ALL, ALL, "# comment\nMQTT-1.0.0-1\tStale.\nMQTT-1.0.0-3\tA client's.\nMQTT-9.0.0-1\tNone."),
        [
            "exceptions:2: MQTT-1.0.0-1 is cited in the code and in a test: remove it here",
            "exceptions:3: MQTT-1.0.0-3 binds only clients: remove it here",
            "exceptions:4: MQTT-9.0.0-1 is no statement",
        ]
    );
}

#[test]
fn what_is_compiled_for_tests_only_is_no_code() {
    let item = "mod a {\n    #[cfg(test)]\n    fn f() {\n        // [MQTT3-2.0.0-1]\n    }\n}\n";
    let module = "#[cfg(test)]\nmod tests {\n    // [MQTT3-2.0.0-1]\n    fn f() {\n    }\n}\n";
    let own_file = "// [MQTT3-2.0.0-1]\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\n";
    let but_one = ALL.replace("[MQTT3-2.0.0-1]", "");
    let missing = ["MQTT3-2.0.0-1 is not in the code: Old only."];
    assert_eq!(problems(&format!("{item}{but_one}"), &but_one, ""), missing);
    assert_eq!(problems(&format!("{but_one}\n{module}"), &but_one, ""), missing);
    assert_eq!(problems(&format!("{module}// [MQTT3-2.0.0-1]\n{but_one}"), &but_one, ""), [""; 0]);
    let in_no_test = ["MQTT3-2.0.0-1 is in no test: Old only."];
    assert_eq!(problems(&format!("{own_file}{but_one}"), &but_one, ""), in_no_test);
}
