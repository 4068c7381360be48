//! The page on REST: every line of it is run, and says what the page says.

use std::fs;

use crate::harness::{Server, bash, guest};

/// What stands between what two blocks say.
const BORDER: &str = "--- the next block ---";

/// A block of lines, and what the page says they say.
struct Block<'p> {
    lines: &'p str,
    says: &'p str,
}

#[test]
fn the_page_on_rest_does_as_it_says() {
    let page = include_str!("../../docs/rest-api.md");
    let blocks = blocks(page);
    assert!(blocks.len() > 10 && page.contains("curl"), "{} blocks", blocks.len());
    let server = Server::spawn();
    fs::write(server.scratch().join("stamp.wasm"), guest("stamp-a")).expect("a file");
    let script: String =
        blocks.iter().map(|block| format!("{}\necho; echo '{BORDER}'\n", block.lines)).collect();
    let said = bash(&server, &script);
    let said: Vec<&str> = said.split(BORDER).collect();
    for (block, said) in blocks.iter().zip(said) {
        assert!(
            fits(block.says, said),
            "{}\nsays\n{}\nand the page has\n{}",
            block.lines,
            said.trim(),
            block.says
        );
    }
}

/// Each block of bash with the block behind it.
fn blocks(page: &str) -> Vec<Block<'_>> {
    page.split("```bash\n")
        .skip(1)
        .map(|rest| {
            let (lines, behind) = rest.split_once("```").expect("a block ends");
            let (_, says) = behind.trim_start().split_once('\n').expect("what a block says stands behind it");
            let (says, _) = says.split_once("```").expect("a block ends");
            Block { lines, says }
        })
        .collect()
}

/// Whether what was said is what stands there: `…` is any text, and white space does not count.
fn fits(pattern: &str, said: &str) -> bool {
    let bare = |text: &str| text.chars().filter(|character| !character.is_whitespace()).collect::<String>();
    let (pattern, said) = (bare(pattern), bare(said));
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| said.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = rest.split_at(at + part.len()).1,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn the_page_is_compared_as_it_should_be() {
    for (pattern, said, is_fit) in [
        ("{\"a\": 1}", "{\"a\":1}\n", true),
        ("{\"a\": …}", "{\"a\":12,\"b\":3}", true),
        ("{…\"b\": 3}", "{\"a\":12,\"b\":3}", true),
        ("{…\"b\":…\"d\":4}", "{\"a\":12,\"b\":3,\"d\":4}", true),
        ("{\"a\": 1}", "{\"a\":2}", false),
        ("{\"a\": …\"b\"}", "{\"a\":12}", false),
        ("{\"a\"…", "[{\"a\":1}]", false),
        ("", "", true),
        ("", "something", false),
    ] {
        assert_eq!(fits(pattern, said), is_fit, "{pattern} {said}");
    }
}
