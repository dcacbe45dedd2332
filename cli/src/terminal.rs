//! Text that may come from others, on a terminal: shown, not obeyed.
//!
//! Every line of the program passes through here on its way out ([`crate::print`]), so that no
//! command has to remember which of its words somebody else chose.

/// The text, with a sign like `\u{202e}` in the place of each character that a terminal would
/// obey or hide. Line ends and tabs stay: whoever composes lines decides about those.
pub(crate) fn shown(text: &str) -> String {
    escaped(text, |shown, char| shown.extend(char.escape_unicode()))
}

/// JSON with such characters as `\u202e`, which means the same to a program that reads it. Outside
/// of its strings JSON has none.
pub(crate) fn shown_json(json: &str) -> String {
    escaped(json, |shown, char| {
        for unit in char.encode_utf16(&mut [0; 2]) {
            shown.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn escaped(text: &str, escape: impl Fn(&mut String, char)) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | '\t' => shown.push(char),
            other if is_obeyed(other) => escape(&mut shown, other),
            other => shown.push(other),
        }
    }
    shown
}

/// Whether a terminal acts on a character, or shows nothing in its place.
///
/// U+200C, U+200D and U+FE00 to U+FE0F are invisible too, and stay: Persian, Hindi and emoji are
/// written with them, and they change nothing but their neighbours.
const fn is_obeyed(char: char) -> bool {
    matches!(
        char,
        // Controls, of which ESC and CSI begin commands.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Directions: what follows is shown in another order than it is written.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
        // Ends of lines and paragraphs.
        | '\u{2028}' | '\u{2029}'
        // Fillers and format characters without a picture, tags among them.
        | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::{is_obeyed, shown, shown_json};

    /// Scenario 153: what turns text around, hides in it or moves the cursor is named instead.
    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(shown("a\u{202e}b\u{1b}[31m"), "a\\u{202e}b\\u{1b}[31m");
        let all = "\0\r\u{7f}\u{9b}\u{61c}\u{200b}\u{200f}\u{2028}\u{2067}\u{ad}\u{feff}\u{e0041}";
        assert!(all.chars().all(is_obeyed));
        assert!(shown(all).is_ascii());
        assert_eq!(shown(&shown(all)), shown(all), "twice is once");
    }

    /// What people write in is not touched.
    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in
            ["plain, tabs\tand\nlines", "שלום", "می‌خواهم", "👩‍👩‍👧 ❤️", "ångström", "हिन्दी", "漢字"]
        {
            assert_eq!(shown(text), text);
            assert_eq!(shown_json(text), text);
        }
    }

    /// Scripts read the same text as before.
    #[test]
    fn json_means_the_same_with_the_signs() {
        let text = "a\u{202e}b\u{9b}c\u{e0041}d\u{7f}\"\\";
        let json = serde_json::json!({ "text": text }).to_string();
        let shown = shown_json(&json);
        assert!(shown.is_ascii(), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["text"], text);
    }
}
