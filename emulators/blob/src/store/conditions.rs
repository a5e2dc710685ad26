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
    /// Decides for an operation that makes a resource, or puts another in its place.
    ///
    /// # Errors
    /// `BlobAlreadyExists` for `If-None-Match: *`, else as [`Conditions::check_write`].
    pub fn check_create(&self, current: Current) -> Result<(), StorageError> {
        self.check_combination()?;
        if self.if_none_match == Some(TagMatch::Any) && current.is_some() {
            return Err(StorageError::BlobAlreadyExists);
        }
        self.check_write(current)
    }

    /// Decides for an operation that changes a resource. A tag wins over a date; where both headers of such a pair
    /// are sent, the date is not looked at. `If-None-Match: *` means that there must be nothing: what makes a
    /// resource asks for that, and what changes one cannot.
    ///
    /// # Errors
    /// `ConditionNotMet`, or `MultipleConditionHeaders` for headers that do not go together.
    pub fn check_write(&self, current: Current) -> Result<(), StorageError> {
        self.check_combination()?;
        let holds = match (&self.if_none_match, &self.if_match) {
            (Some(TagMatch::Any), _) => true,
            (Some(known), _) => !is_match(known, current),
            (None, Some(TagMatch::Any)) => true,
            (None, Some(wanted)) => is_match(wanted, current),
            (None, None) => {
                self.is_modified(current) != Some(false) && self.is_unmodified(current) != Some(false)
            }
        };
        if holds { Ok(()) } else { Err(StorageError::ConditionNotMet) }
    }

    /// Decides for an operation that reads a resource, which may not be there: then only what asks for a tag fails.
    /// `If-None-Match` and `If-Modified-Since` together ask for either.
    ///
    /// # Errors
    /// `ConditionNotMet` (412), `NotModified` (304) when the client's copy is current, or `UnsatisfiableCondition` for
    /// `If-None-Match: *`.
    pub fn check_read(&self, current: Current) -> Result<(), StorageError> {
        let matches = self.if_match.as_ref().is_none_or(|wanted| is_match(wanted, current));
        if current.is_none() && !matches {
            return Err(StorageError::ConditionNotMet);
        }
        if self.if_none_match == Some(TagMatch::Any) {
            return Err(StorageError::UnsatisfiableCondition);
        }
        if !matches || self.is_unmodified(current) == Some(false) {
            return Err(StorageError::ConditionNotMet);
        }
        let differs = self.if_none_match.as_ref().map(|known| !is_match(known, current));
        match (differs, self.is_modified(current)) {
            (Some(false), modified) if modified != Some(true) => Err(StorageError::NotModified),
            (differs, Some(false)) if differs != Some(true) => Err(StorageError::NotModified),
            _ => Ok(()),
        }
    }

    /// The pairs that the service weighs ("Specifying conditional headers", last section).
    fn check_combination(&self) -> Result<(), StorageError> {
        let tags = usize::from(self.if_match.is_some()) + usize::from(self.if_none_match.is_some());
        let dates = usize::from(self.modified_since.is_some()) + usize::from(self.unmodified_since.is_some());
        let pair = (self.if_match.is_some() && self.unmodified_since.is_some())
            || (self.if_none_match.is_some() && self.modified_since.is_some());
        if tags + dates > 2 || (tags + dates == 2 && !pair) {
            return Err(StorageError::MultipleConditionHeaders);
        }
        Ok(())
    }

    fn is_modified(&self, current: Current) -> Option<bool> {
        let ((_, modified_us), since) = current.zip(self.modified_since)?;
        Some(modified_us / 1_000_000 > since)
    }

    fn is_unmodified(&self, current: Current) -> Option<bool> {
        let ((_, modified_us), since) = current.zip(self.unmodified_since)?;
        Some(modified_us / 1_000_000 <= since)
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
        assert_eq!(Conditions::default().check_read(Some((TAG, AT_US))), Ok(()));
    }

    #[test]
    fn none_match_star_means_create_only() {
        let only_new = Conditions { if_none_match: Some(TagMatch::Any), ..Conditions::default() };
        assert_eq!(only_new.check_create(None), Ok(()));
        assert_eq!(only_new.check_create(Some((TAG, AT_US))), Err(StorageError::BlobAlreadyExists));
        assert_eq!(only_new.check_read(Some((TAG, AT_US))), Err(StorageError::UnsatisfiableCondition));
    }

    #[test]
    fn match_needs_the_same_tag_and_an_existing_blob() {
        let same = Conditions { if_match: tag("\"0xAB\""), ..Conditions::default() };
        assert_eq!(same.check_write(Some((TAG, AT_US))), Ok(()));
        assert_eq!(same.check_write(None), Err(StorageError::ConditionNotMet));
        assert_eq!(same.check_write(Some((ETag(1), AT_US))), Err(StorageError::ConditionNotMet));
        assert_eq!(same.check_read(Some((ETag(1), AT_US))), Err(StorageError::ConditionNotMet));
    }

    #[test]
    fn a_reader_with_the_current_copy_gets_304() {
        let known = Conditions { if_none_match: tag("\"0xAB\""), ..Conditions::default() };
        assert_eq!(known.check_read(Some((TAG, AT_US))), Err(StorageError::NotModified));
        assert_eq!(known.check_read(Some((ETag(1), AT_US))), Ok(()));
        let since = Conditions { modified_since: Some(1_767_225_600), ..Conditions::default() };
        assert_eq!(since.check_read(Some((TAG, AT_US))), Err(StorageError::NotModified));
        assert_eq!(since.check_read(Some((TAG, AT_US + 1_000_000))), Ok(()));
    }

    #[test]
    fn a_reader_of_two_conditions_is_content_with_one() {
        let both = Conditions { modified_since: Some(1_767_225_600), ..Conditions::default() };
        let other_tag = Conditions { if_none_match: tag("\"0x1\""), ..both.clone() };
        assert_eq!(
            other_tag.check_read(Some((TAG, AT_US))),
            Ok(()),
            "the tag differs, though the date does not"
        );
        let same_tag = Conditions { if_none_match: tag("\"0xAB\""), ..both };
        assert_eq!(
            same_tag.check_read(Some((TAG, AT_US + 1_000_000))),
            Ok(()),
            "changed, though the tag is known"
        );
        assert_eq!(same_tag.check_read(Some((TAG, AT_US))), Err(StorageError::NotModified));
    }

    #[test]
    fn a_writer_may_pair_a_tag_with_its_date_and_nothing_else() {
        let tag_wins =
            Conditions { if_match: tag("\"0xAB\""), unmodified_since: Some(0), ..Conditions::default() };
        assert_eq!(tag_wins.check_write(Some((TAG, AT_US))), Ok(()));
        let odd = Conditions { modified_since: Some(0), unmodified_since: Some(0), ..Conditions::default() };
        assert_eq!(odd.check_write(Some((TAG, AT_US))), Err(StorageError::MultipleConditionHeaders));
        let three = Conditions { modified_since: Some(0), ..tag_wins };
        assert_eq!(three.check_write(None), Err(StorageError::MultipleConditionHeaders));
    }

    #[test]
    fn unmodified_since_compares_whole_seconds() {
        let since = Conditions { unmodified_since: Some(1_767_225_600), ..Conditions::default() };
        assert_eq!(since.check_write(Some((TAG, AT_US))), Ok(()));
        assert_eq!(since.check_write(Some((TAG, AT_US + 1_000_000))), Err(StorageError::ConditionNotMet));
    }
}
