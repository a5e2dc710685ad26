//! The XML documents that a client sends: the block list. Whatever the bytes are, reading ends with a value or a
//! refusal, and holds no more than the list itself.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::error::StorageError;
use crate::limits;
use crate::store::{BlockSource, ListedBlock};

/// Reads the body of Put Block List.
///
/// # Errors
/// `InvalidXmlDocument` for what is no such document, `InvalidBlockList` for a list that nobody knows,
/// `BlockListTooLong`.
pub fn block_list(body: &[u8]) -> Result<Vec<ListedBlock>, StorageError> {
    let text = std::str::from_utf8(body).map_err(|error| invalid(&error.to_string()))?;
    let mut reader = Reader::from_str(text);
    let mut list = Vec::new();
    let (mut depth, mut from, mut id) = (0_u8, BlockSource::Latest, String::new());
    let mut seen_root = false;
    loop {
        match reader.read_event().map_err(|error| invalid(&error.to_string()))? {
            Event::Start(element) if depth == 0 && !seen_root && element.name().as_ref() == "BlockList" => {
                (depth, seen_root) = (1, true);
            }
            Event::Empty(element) if depth == 0 && !seen_root && element.name().as_ref() == "BlockList" => {
                seen_root = true;
            }
            Event::Start(element) if depth == 1 => {
                (depth, from) = (2, source(element.name().as_ref())?);
                id.clear();
            }
            // An id of no characters is that of no block.
            Event::Empty(element) if depth == 1 => {
                source(element.name().as_ref())?;
                return Err(StorageError::InvalidBlockList);
            }
            Event::Text(text) if depth == 2 => {
                id.push_str(&text);
            }
            Event::Text(text) if text.bytes().all(|byte| byte.is_ascii_whitespace()) => {}
            Event::End(_) if depth == 2 => {
                if list.len() >= limits::MAX_COMMITTED_BLOCKS {
                    return Err(StorageError::BlockListTooLong);
                }
                list.push(ListedBlock { from, id: id.trim().into() });
                depth = 1;
            }
            Event::End(_) if depth == 1 => depth = 0,
            Event::Decl(_) | Event::Comment(_) => {}
            Event::Eof if depth == 0 && seen_root => return Ok(list),
            Event::Eof => return Err(invalid("it ends before it is whole")),
            _ => return Err(invalid("it is no BlockList of Committed, Uncommitted and Latest")),
        }
    }
}

fn source(element: &str) -> Result<BlockSource, StorageError> {
    match element {
        "Committed" => Ok(BlockSource::Committed),
        "Uncommitted" => Ok(BlockSource::Uncommitted),
        "Latest" => Ok(BlockSource::Latest),
        _ => Err(StorageError::InvalidBlockList),
    }
}

fn invalid(detail: &str) -> StorageError {
    StorageError::InvalidXmlDocument { detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(from: BlockSource, id: &str) -> ListedBlock {
        ListedBlock { from, id: id.into() }
    }

    #[test]
    fn a_list_keeps_its_order_and_its_sources() {
        let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList>\n <Latest>Yg==</Latest>\
                    <!-- x --><Uncommitted>YQ==</Uncommitted><Committed> Yg== </Committed></BlockList>\n";
        let expected = [
            listed(BlockSource::Latest, "Yg=="),
            listed(BlockSource::Uncommitted, "YQ=="),
            listed(BlockSource::Committed, "Yg=="),
        ];
        assert_eq!(block_list(body.as_bytes()), Ok(expected.to_vec()));
        for empty in ["<BlockList/>", "<BlockList></BlockList>"] {
            assert_eq!(block_list(empty.as_bytes()), Ok(Vec::new()));
        }
    }

    #[test]
    fn what_is_no_list_is_refused_by_kind() {
        for body in [
            "",
            " ",
            "BlockList",
            "<BlockList>",
            "<List/>",
            "<BlockList/><BlockList/>",
            "<BlockList>x</BlockList>",
            "<BlockList><Latest>YQ==</BlockList>",
            "<BlockList><Latest><a/></Latest></BlockList>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><BlockList><Latest>&b;</Latest></BlockList>",
            "{}",
            "\u{1}",
        ] {
            assert!(
                matches!(block_list(body.as_bytes()), Err(StorageError::InvalidXmlDocument { .. })),
                "{body}"
            );
        }
        for body in ["<BlockList><Newest>YQ==</Newest></BlockList>", "<BlockList><Latest/></BlockList>"] {
            assert_eq!(block_list(body.as_bytes()), Err(StorageError::InvalidBlockList), "{body}");
        }
        let long = "<Latest>YQ==</Latest>".repeat(limits::MAX_COMMITTED_BLOCKS + 1);
        let long = format!("<BlockList>{long}</BlockList>");
        assert_eq!(block_list(long.as_bytes()), Err(StorageError::BlockListTooLong));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_end_with_a_list_or_a_refusal(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = block_list(&body);
        }

        #[test]
        fn any_text_in_angle_brackets_ends_with_a_list_or_a_refusal(
            body in "(<[/?!]?(BlockList|Latest|Committed|a)?[ =\"']{0,2}/?>?|YQ==|&[a-z#0-9]{0,4};?|]]>){0,12}",
        ) {
            let _ = block_list(body.as_bytes());
        }

        #[test]
        fn a_list_that_was_written_is_read_again(ids in proptest::collection::vec("[A-Za-z0-9+/]{4,88}", 0..20)) {
            let body: String = ids.iter().map(|id| format!("<Latest>{id}</Latest>")).collect();
            let expected: Vec<_> = ids.iter().map(|id| listed(BlockSource::Latest, id)).collect();
            prop_assert_eq!(block_list(format!("<BlockList>{body}</BlockList>").as_bytes()), Ok(expected));
        }
    }
}
