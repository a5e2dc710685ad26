//! The XML documents that the service answers: lists and errors. It writes what it is given and looks nothing up.

use std::fmt::Write as _;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::headers::md5_text;
use crate::error::StorageError;
use crate::store::{Blob, BlobPage, Container, ListEntry, Metadata, PublicAccess};
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
            ListEntry::Blob(name, blob) => blob_element(&mut xml, name, blob, head.with_metadata),
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

fn blob_element(xml: &mut String, name: &str, blob: &Blob, with_metadata: bool) {
    xml.push_str("<Blob>");
    name_element(xml, name);
    xml.push_str("<Properties>");
    element(xml, "Creation-Time", &time::http_date(blob.created_us));
    element(xml, "Last-Modified", &time::http_date(blob.modified_us));
    element(xml, "Etag", blob.etag.to_string().trim_matches('"'));
    let _ = write!(xml, "<Content-Length>{}</Content-Length>", blob.size_bytes());
    element(xml, "Content-Type", blob.headers.content_type.as_deref().unwrap_or("application/octet-stream"));
    element(xml, "Content-Encoding", blob.headers.encoding.as_deref().unwrap_or_default());
    element(xml, "Content-Language", blob.headers.language.as_deref().unwrap_or_default());
    element(xml, "Content-MD5", &blob.md5.as_ref().map(md5_text).unwrap_or_default());
    element(xml, "Content-Disposition", blob.headers.disposition.as_deref().unwrap_or_default());
    element(xml, "Cache-Control", blob.headers.cache_control.as_deref().unwrap_or_default());
    xml.push_str("<BlobType>BlockBlob</BlobType><LeaseStatus>unlocked</LeaseStatus>");
    xml.push_str("<LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties>");
    if with_metadata {
        metadata_element(xml, &blob.metadata);
    }
    xml.push_str("</Blob>");
}

fn metadata_element(xml: &mut String, metadata: &Metadata) {
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
}
