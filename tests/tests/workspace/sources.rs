//! Rules that the compiler does not know: what sources may name.

use super::{document, files};

/// E1: the pure crates name nothing that waits, reads a clock or draws randomness by itself.
#[test]
fn core_and_proto_name_no_clock_socket_thread_or_global() {
    let forbidden = [
        "SystemTime::now",
        "Instant",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "std::process",
        "thread_local!",
        "static mut",
        "OnceLock",
        "OnceCell",
        "LazyLock",
        "LazyCell",
        "async ",
        ".await",
        "tokio",
        "HashMap",
        "HashSet",
        "OsRng",
        "SysRng",
        "getrandom",
        "ThreadRng",
        "rand::rng",
        "println!",
        "eprintln!",
    ];
    let mut found = Vec::new();
    for (path, code) in product_code(&["proto/src", "core/src"]) {
        for word in forbidden.iter().filter(|word| code.contains(**word)) {
            found.push(format!("{path} names {word}"));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// E1: the MLS library has one door.
#[test]
fn only_the_mls_module_names_the_mls_library() {
    let rings = ["proto/src", "core/src", "adapters", "actors", "relay", "cli"];
    let outside = product_code(&rings)
        .into_iter()
        .filter(|(path, code)| !path.starts_with("core/src/mls/") && code.contains("openmls"));
    assert_eq!(outside.map(|(path, _)| path).collect::<Vec<_>>(), Vec::<String>::new());
}

/// S18: keys have numbers that may be seen and ids that a sealing layer hides; only layers between the
/// engine and a backend, and tests, build keys of other bytes.
#[test]
fn engines_build_numbered_and_named_keys_only() {
    let raw = ["Key::from_parts", "Key::from_stored"];
    let mut found = Vec::new();
    for (path, code) in product_code(&["core/src", "actors", "relay", "cli", "adapters"]) {
        let is_a_layer =
            ["core/src/store/", "adapters/chunked/"].iter().any(|it| path.starts_with(it));
        for word in raw.iter().filter(|word| !is_a_layer && code.contains(**word)) {
            found.push(format!("{path} uses {word}"));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn core_and_proto_forbid_unsafe_code() {
    for path in ["core/src/lib.rs", "proto/src/lib.rs"] {
        assert!(document(path).contains("#![forbid(unsafe_code)]"), "{path}");
    }
}

/// The project speaks of itself only: no path of a machine, no place where a package came from.
/// The words are put together here, so that this file does not name them.
#[test]
fn no_file_names_the_machine_it_was_made_on() {
    let words = [["/wor", "k/"], ["/roo", "t/"], ["shar", "ed/"], ["crates", ".io"]];
    let mut found = Vec::new();
    // The lock file has to name the index.
    for (path, text) in files("").into_iter().filter(|(path, _)| !path.ends_with("Cargo.lock")) {
        for word in words.map(|parts| parts.concat()) {
            // The folder of vectors beside a checkout, where no other is named.
            if path == "tests/tests/vectors.rs" && text.contains(&format!("../{word}vectors")) {
                continue;
            }
            for (number, _) in text.lines().enumerate().filter(|(_, line)| line.contains(&word)) {
                found.push(format!("{path}:{} names {word}", number + 1));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// A file of tests that no program has as a module would never run.
#[test]
fn every_file_of_integration_tests_belongs_to_a_program() {
    let mut found = Vec::new();
    let all = files("");
    let programs = all.iter().filter(|(path, _)| path.ends_with("tests/main.rs"));
    for (program, modules) in programs {
        let folder = program.strip_suffix("main.rs").unwrap_or_default();
        let package = folder.strip_suffix("tests/").unwrap_or_default();
        let manifest = document(&format!("{package}Cargo.toml"));
        for (path, _) in all.iter().filter(|(path, _)| path != program) {
            let Some(name) = path.strip_prefix(folder) else { continue };
            let Some(module) = name.split(['/', '.']).next() else { continue };
            let is_module = modules.contains(&format!("\nmod {module};\n"));
            let is_program = [format!("\"tests/{module}/main.rs\""), format!("\"tests/{name}\"")];
            let is_program = is_program.iter().any(|path| manifest.contains(path));
            if name.ends_with(".rs") && !is_module && !is_program {
                found.push(path);
            }
        }
    }
    assert_eq!(found, Vec::<&String>::new());
}

/// The sources below some folders without comments, string literals and tests.
fn product_code(below: &[&str]) -> Vec<(String, String)> {
    let all = below.iter().flat_map(|folder| files(folder));
    all.filter(|(path, _)| {
        path.ends_with(".rs") && !path.ends_with("/tests.rs") && !path.contains("/tests/")
    })
    .map(|(path, text)| (path, stripped(&text)))
    .collect()
}

/// Tests stand at the bottom of a file. A string does not reach over the end of a line here:
/// where one does, what follows it is looked at as well, which errs on the strict side.
fn stripped(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    product.lines().map(|line| format!("{}\n", without_literals(line))).collect()
}

fn without_literals(line: &str) -> String {
    let (mut code, mut quoted, mut escaped) = (String::new(), false, false);
    let mut previous = ' ';
    for character in line.chars() {
        match character {
            '"' if !escaped => quoted = !quoted,
            '/' if previous == '/' && !quoted => return code,
            _ if !quoted => code.push(character),
            _ => {}
        }
        escaped = character == '\\' && !escaped;
        previous = character;
    }
    code
}

#[test]
fn comments_literals_and_tests_are_not_code() {
    let text = "use a; // HashMap\nlet s = \"HashMap // \\\" x\"; y\n#[cfg(test)]\nmod tests { z }";
    assert_eq!(stripped(text), "use a; /\nlet s = ; y\n");
}
