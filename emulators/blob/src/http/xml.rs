//! The XML documents that the service answers: lists and errors. It writes what it is given and looks nothing up.

use std::fmt::Write as _;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::checksum::md5_text;
use crate::error::StorageError;
use crate::store::{Blob, BlobPage, BlockLists, Container, ListEntry, Metadata, PublicAccess};
use crate::time;

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>";

/// What a list says about the request that it answers.
#[derive(Debug, Default)]
pub struct ListHead<'a> {
    /// `http://host/account/`.
    pub endpoint: &'a str,
    /// Container of a list of blobs.
    pub container: Option<&'a str>,
    /// The parameters as they were sent, under the names of their elements.
    pub parameters: Vec<(&'static str, &'a str)>,
    /// True when metadata is asked for.
    pub with_metadata: bool,
    /// True when the copies that made blobs are asked for.
    pub with_copy: bool,
}

/// Document of List Blobs. `next_marker` is empty on the last page.
pub fn blob_list(head: &ListHead<'_>, page: &BlobPage, next_marker: &str) -> String {
    let mut xml = String::with_capacity(512 + page.entries.len() * 640);
    open_list(&mut xml, head);
    xml.push_str("<Blobs>");
    for entry in &page.entries {
        match entry {
            ListEntry::Prefix(prefix) => {
                xml.push_str("<BlobPrefix>");
                name_element(&mut xml, prefix);
                xml.push_str("</BlobPrefix>");
            }
            ListEntry::Blob(name, blob) => blob_element(&mut xml, name, blob, head),
            ListEntry::Uncommitted(name) => uncommitted_element(&mut xml, name),
        }
    }
    xml.push_str("</Blobs>");
    close_list(&mut xml, next_marker);
    xml
}

/// Document of List Containers. `next_marker` is empty on the last page.
pub fn container_list(head: &ListHead<'_>, containers: &[Arc<Container>], next_marker: &str) -> String {
    let mut xml = String::with_capacity(512 + containers.len() * 512);
    open_list(&mut xml, head);
    xml.push_str("<Containers>");
    for container in containers {
        let properties = container.properties();
        xml.push_str("<Container>");
        element(&mut xml, "Name", &container.name);
        xml.push_str("<Properties>");
        element(&mut xml, "Last-Modified", &time::http_date(properties.modified_us));
        element(&mut xml, "Etag", &properties.etag.to_string());
        xml.push_str("<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>");
        if let Some(public_access) = public_access_text(properties.public_access) {
            element(&mut xml, "PublicAccess", public_access);
        }
        xml.push_str(
            "<HasImmutabilityPolicy>false</HasImmutabilityPolicy><HasLegalHold>false</HasLegalHold>",
        );
        xml.push_str("</Properties>");
        if head.with_metadata {
            metadata_element(&mut xml, &properties.metadata);
        }
        xml.push_str("</Container>");
    }
    xml.push_str("</Containers>");
    close_list(&mut xml, next_marker);
    xml
}

/// Document of a refusal.
pub fn error_document(code: &str, error: &StorageError, request_id: &str, now: &str) -> String {
    let mut xml = String::with_capacity(512);
    xml.push_str(DECLARATION);
    xml.push_str("<Error>");
    element(&mut xml, "Code", code);
    element(&mut xml, "Message", &format!("{error}\nRequestId:{request_id}\nTime:{now}"));
    for (name, text) in error.details() {
        element(&mut xml, name, &text);
    }
    xml.push_str("</Error>");
    xml
}

/// The word for public access in headers and lists; none when there is no access.
pub fn public_access_text(public_access: PublicAccess) -> Option<&'static str> {
    match public_access {
        PublicAccess::None => None,
        PublicAccess::Blob => Some("blob"),
        PublicAccess::Container => Some("container"),
    }
}

fn open_list(xml: &mut String, head: &ListHead<'_>) {
    xml.push_str(DECLARATION);
    xml.push_str("<EnumerationResults ServiceEndpoint=\"");
    push_escaped(xml, head.endpoint);
    if let Some(container) = head.container {
        xml.push_str("\" ContainerName=\"");
        push_escaped(xml, container);
    }
    xml.push_str("\">");
    for (name, value) in &head.parameters {
        element(xml, name, value);
    }
}

fn close_list(xml: &mut String, next_marker: &str) {
    element(xml, "NextMarker", next_marker);
    xml.push_str("</EnumerationResults>");
}

fn blob_element(xml: &mut String, name: &str, blob: &Blob, head: &ListHead<'_>) {
    let headers = &blob.about.headers;
    xml.push_str("<Blob>");
    name_element(xml, name);
    xml.push_str("<Properties>");
    element(xml, "Creation-Time", &time::http_date(blob.created_us));
    element(xml, "Last-Modified", &time::http_date(blob.modified_us));
    element(xml, "Etag", blob.etag.to_string().trim_matches('"'));
    let _ = write!(xml, "<Content-Length>{}</Content-Length>", blob.size_bytes());
    element(xml, "Content-Type", headers.content_type.as_deref().unwrap_or("application/octet-stream"));
    element(xml, "Content-Encoding", headers.encoding.as_deref().unwrap_or_default());
    element(xml, "Content-Language", headers.language.as_deref().unwrap_or_default());
    element(xml, "Content-MD5", &blob.about.md5.as_ref().map(md5_text).unwrap_or_default());
    element(xml, "Content-Disposition", headers.disposition.as_deref().unwrap_or_default());
    element(xml, "Cache-Control", headers.cache_control.as_deref().unwrap_or_default());
    xml.push_str("<BlobType>BlockBlob</BlobType><LeaseStatus>unlocked</LeaseStatus>");
    xml.push_str("<LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted>");
    xml.push_str("<AccessTier>Hot</AccessTier><AccessTierInferred>true</AccessTierInferred>");
    if let Some(copy) = blob.about.copy.as_ref().filter(|_| head.with_copy) {
        element(xml, "CopyId", &copy.id);
        element(xml, "CopySource", &copy.source);
        xml.push_str("<CopyStatus>success</CopyStatus>");
        let _ = write!(xml, "<CopyProgress>{0}/{0}</CopyProgress>", blob.size_bytes());
        element(xml, "CopyCompletionTime", &time::http_date(copy.completed_us));
    }
    xml.push_str("</Properties>");
    if head.with_metadata {
        metadata_element(xml, &blob.about.metadata);
    }
    xml.push_str("</Blob>");
}

/// A name of which there are only blocks that wait, as it stands among blobs.
fn uncommitted_element(xml: &mut String, name: &str) {
    xml.push_str("<Blob>");
    name_element(xml, name);
    xml.push_str(
        "<Properties><Content-Length>0</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>",
    );
}

/// Document of Get Block List, with the lists that are asked for.
pub fn block_lists(lists: &BlockLists, committed: bool, uncommitted: bool) -> String {
    let of_blob = lists.blob.as_ref().map(|blob| &*blob.blocks).unwrap_or_default();
    let mut xml = String::with_capacity(256 + (of_blob.len() + lists.uncommitted.len()) * 128);
    xml.push_str(DECLARATION);
    xml.push_str("<BlockList>");
    for (name, wanted, blocks) in
        [("CommittedBlocks", committed, of_blob), ("UncommittedBlocks", uncommitted, &*lists.uncommitted)]
    {
        if !wanted {
            continue;
        }
        let _ = write!(xml, "<{name}>");
        for (id, size_bytes) in blocks {
            xml.push_str("<Block>");
            element(&mut xml, "Name", id);
            let _ = write!(xml, "<Size>{size_bytes}</Size></Block>");
        }
        let _ = write!(xml, "</{name}>");
    }
    xml.push_str("</BlockList>");
    xml
}

fn metadata_element(xml: &mut String, metadata: &Metadata) {
    // An empty element would be text to the SDKs, and no map.
    if metadata.is_empty() {
        return;
    }
    xml.push_str("<Metadata>");
    for (name, value) in metadata {
        // Names are identifiers, so they are element names too.
        element(xml, name, value);
    }
    xml.push_str("</Metadata>");
}

/// A name with characters that XML cannot have is percent-encoded and says so ("List Blobs", since 2021-02-12).
fn name_element(xml: &mut String, name: &str) {
    if name.chars().all(is_xml_char) {
        element(xml, "Name", name);
        return;
    }
    xml.push_str("<Name Encoded=\"true\">");
    xml.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
    xml.push_str("</Name>");
}

fn element(xml: &mut String, name: &str, text: &str) {
    xml.push('<');
    xml.push_str(name);
    if text.is_empty() {
        xml.push_str(" />");
        return;
    }
    xml.push('>');
    push_escaped(xml, text);
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
}

fn push_escaped(xml: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\r' => xml.push_str("&#xD;"),
            char if is_xml_char(char) => xml.push(char),
            _ => xml.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// The characters of XML 1.0 §2.2; surrogates cannot occur.
fn is_xml_char(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_escaped_and_names_that_xml_cannot_have_are_encoded() {
        let mut xml = String::new();
        element(&mut xml, "A", "a<b>&\"c\"\r\u{1}");
        assert_eq!(xml, "<A>a&lt;b&gt;&amp;&quot;c&quot;&#xD;\u{FFFD}</A>");
        let mut xml = String::new();
        name_element(&mut xml, "a\u{1}/é");
        assert_eq!(xml, "<Name Encoded=\"true\">a%01%2F%C3%A9</Name>");
    }

    #[test]
    fn an_error_has_code_message_and_its_details() {
        let error = StorageError::InvalidHeaderValue { name: "range".to_owned(), value: "<x>".to_owned() };
        let xml = error_document("InvalidHeaderValue", &error, "id", "now");
        assert!(
            xml.starts_with(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>InvalidHeaderValue</Code>"
            )
        );
        assert!(xml.contains("RequestId:id\nTime:now</Message><HeaderName>range</HeaderName>"));
        assert!(xml.ends_with("<HeaderValue>&lt;x&gt;</HeaderValue></Error>"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A reader that is not ours finds the text that was written, but for what XML cannot have.
        #[test]
        fn any_text_is_well_formed_and_read_again(text in "\\PC{0,40}|[\\x00-\\x20<>&\"']{0,20}") {
            let mut xml = String::from("<R>");
            element(&mut xml, "A", &text);
            name_element(&mut xml, &text);
            xml.push_str("</R>");
            let mut reader = quick_xml::Reader::from_str(&xml);
            let mut found = String::new();
            let mut depth = 0;
            loop {
                use quick_xml::events::Event;
                match reader.read_event().expect("well-formed") {
                    Event::Start(element) if element.name().as_ref() == "A" => depth = 1,
                    Event::End(_) => depth = 0,
                    Event::Text(text) if depth == 1 => found.push_str(&text),
                    Event::GeneralRef(name) if depth == 1 => {
                        found.push_str(match &*name {
                            "amp" => "&",
                            "lt" => "<",
                            "gt" => ">",
                            "quot" => "\"",
                            "#xD" => "\r",
                            other => panic!("&{other};"),
                        });
                    }
                    Event::Eof => break,
                    _ => {}
                }
            }
            let expected: String = text.chars().map(|c| if is_xml_char(c) { c } else { '\u{FFFD}' }).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
