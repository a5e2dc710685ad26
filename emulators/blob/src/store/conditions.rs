//! The four conditional headers ("Specifying conditional headers for Blob service operations"), as a decision over
//! what is stored. It reads no request and changes nothing.

use super::blob::ETag;
use crate::error::StorageError;

/// An entity tag of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagMatch {
    /// `*`: any resource that exists.
    Any,
    /// This one, with its quotes.
    Tag(String),
}

/// What the client demands before the operation is carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`.
    pub if_match: Option<TagMatch>,
    /// `If-None-Match`.
    pub if_none_match: Option<TagMatch>,
    /// `If-Modified-Since`, seconds since the Unix epoch.
    pub modified_since: Option<u64>,
    /// `If-Unmodified-Since`, seconds since the Unix epoch.
    pub unmodified_since: Option<u64>,
}

/// What stands there now: its tag and the instant of its last change.
pub type Current = Option<(ETag, u64)>;

impl Conditions {
    /// Decides for an operation that changes the resource.
    ///
    /// # Errors
    /// `BlobAlreadyExists` for `If-None-Match: *`, else `ConditionNotMet`.
    pub fn check_write(&self, current: Current) -> Result<(), StorageError> {
        if self.if_none_match == Some(TagMatch::Any) && current.is_some() {
            return Err(StorageError::BlobAlreadyExists);
        }
        match (self.preconditions_hold(current), self.is_news(current)) {
            (true, true) => Ok(()),
            _ => Err(StorageError::ConditionNotMet),
        }
    }

    /// Decides for an operation that reads an existing resource.
    ///
    /// # Errors
    /// `ConditionNotMet` (412), or `NotModified` (304) when the client's copy is current.
    pub fn check_read(&self, tag: ETag, modified_us: u64) -> Result<(), StorageError> {
        let current = Some((tag, modified_us));
        if !self.preconditions_hold(current) {
            return Err(StorageError::ConditionNotMet);
        }
        if self.is_news(current) { Ok(()) } else { Err(StorageError::NotModified) }
    }

    fn preconditions_hold(&self, current: Current) -> bool {
        let matches = self.if_match.as_ref().is_none_or(|wanted| is_match(wanted, current));
        let unmodified = match (self.unmodified_since, current) {
            (Some(since), Some((_, modified_us))) => modified_us / 1_000_000 <= since,
            _ => true,
        };
        matches && unmodified
    }

    fn is_news(&self, current: Current) -> bool {
        let differs = self.if_none_match.as_ref().is_none_or(|known| !is_match(known, current));
        let modified = match (self.modified_since, current) {
            (Some(since), Some((_, modified_us))) => modified_us / 1_000_000 > since,
            _ => true,
        };
        differs && modified
    }
}

fn is_match(wanted: &TagMatch, current: Current) -> bool {
    match (wanted, current) {
        (_, None) => false,
        (TagMatch::Any, Some(_)) => true,
        (TagMatch::Tag(tag), Some((etag, _))) => *tag == etag.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: ETag = ETag(0xAB);
    const AT_US: u64 = 1_767_225_600_500_000;

    fn tag(text: &str) -> Option<TagMatch> {
        Some(TagMatch::Tag(text.to_owned()))
    }

    #[test]
    fn nothing_demanded_always_holds() {
        assert_eq!(Conditions::default().check_write(None), Ok(()));
        assert_eq!(Conditions::default().check_read(TAG, AT_US), Ok(()));
    }

    #[test]
    fn none_match_star_means_create_only() {
        let only_new = Conditions { if_none_match: Some(TagMatch::Any), ..Conditions::default() };
        assert_eq!(only_new.check_write(None), Ok(()));
        assert_eq!(only_new.check_write(Some((TAG, AT_US))), Err(StorageError::BlobAlreadyExists));
    }

    #[test]
    fn match_needs_the_same_tag_and_an_existing_blob() {
        let same = Conditions { if_match: tag("\"0xAB\""), ..Conditions::default() };
        assert_eq!(same.check_write(Some((TAG, AT_US))), Ok(()));
        assert_eq!(same.check_write(None), Err(StorageError::ConditionNotMet));
        assert_eq!(same.check_write(Some((ETag(1), AT_US))), Err(StorageError::ConditionNotMet));
        assert_eq!(same.check_read(ETag(1), AT_US), Err(StorageError::ConditionNotMet));
    }

    #[test]
    fn a_reader_with_the_current_copy_gets_304() {
        let known = Conditions { if_none_match: tag("\"0xAB\""), ..Conditions::default() };
        assert_eq!(known.check_read(TAG, AT_US), Err(StorageError::NotModified));
        assert_eq!(known.check_read(ETag(1), AT_US), Ok(()));
        let since = Conditions { modified_since: Some(1_767_225_600), ..Conditions::default() };
        assert_eq!(since.check_read(TAG, AT_US), Err(StorageError::NotModified));
        assert_eq!(since.check_read(TAG, AT_US + 1_000_000), Ok(()));
    }

    #[test]
    fn unmodified_since_compares_whole_seconds() {
        let since = Conditions { unmodified_since: Some(1_767_225_600), ..Conditions::default() };
        assert_eq!(since.check_write(Some((TAG, AT_US))), Ok(()));
        assert_eq!(since.check_write(Some((TAG, AT_US + 1_000_000))), Err(StorageError::ConditionNotMet));
    }
}
