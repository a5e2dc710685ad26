//! Which trigger answers a path, and what the match tells the guest.
//!
//! It must not know wasmtime or a connection. Rules: Spin 3.6.3, `crates/routes`, over the same routefinder 0.5.4.

use std::borrow::Cow;

/// Paths below this prefix belong to the host.
pub const WELL_KNOWN_PREFIX: &str = "/.well-known/spin/";

/// A route of the application with what it leads to.
#[derive(Debug)]
pub struct Route<T> {
    /// As the manifest has it.
    pub raw: String,
    /// With a leading slash and without a trailing one, as Spin announces it to the guest.
    pub based: String,
    /// Who answers.
    pub target: T,
}

impl<T> Route<T> {
    /// The route without its trailing wildcard `/...`, as the manifest has it.
    pub fn raw_or_prefix(&self) -> &str {
        self.raw.strip_suffix("/...").unwrap_or(&self.raw)
    }

    /// How the route is listed at start.
    pub fn shown(&self) -> String {
        let wildcard = self.based.strip_suffix("/...").or_else(|| self.based.strip_suffix("/*"));
        wildcard.map_or_else(|| self.based.clone(), |prefix| format!("{prefix} (wildcard)"))
    }
}

/// A route that was given twice: the later one wins.
#[derive(Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The route.
    pub route: String,
}

/// Why a route cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("route {route:?} cannot be used: {reason}; write /path, /path/... or /:name/path")]
pub struct RouteError {
    route: String,
    reason: String,
}

/// All routes.
#[derive(Debug)]
pub struct Router<T> {
    finder: routefinder::Router<Route<T>>,
    /// Routes that were replaced by a later one.
    pub duplicates: Vec<Duplicate>,
}

impl<T> Router<T> {
    /// Takes routes in the order of the manifest.
    ///
    /// # Errors
    /// [`RouteError`] of the first that cannot be read.
    pub fn new(routes: impl IntoIterator<Item = (String, T)>) -> Result<Self, RouteError> {
        let mut kept: Vec<Route<T>> = Vec::new();
        let mut duplicates = Vec::new();
        for (raw, target) in routes {
            let based = based(&raw);
            let route = Route { raw, based, target };
            match kept.iter_mut().find(|known| known.raw == route.raw) {
                Some(known) => {
                    duplicates.push(Duplicate { route: route.raw.clone() });
                    *known = route;
                }
                None => kept.push(route),
            }
        }
        let mut finder = routefinder::Router::new();
        for route in kept {
            let pattern = match route.based.strip_suffix("/...") {
                Some(prefix) => format!("{prefix}/*"),
                None => route.based.clone(),
            };
            let raw = route.raw.clone();
            finder.add(pattern, route).map_err(|reason| RouteError { route: raw, reason })?;
        }
        Ok(Self { finder, duplicates })
    }

    /// The most specific route for a path (percent-escapes as they came), or none.
    pub fn find<'a>(&'a self, path: &'a str) -> Option<Match<'a, T>> {
        let best = self.finder.best_match(path)?;
        Some(Match { route: best.handler(), captures: best.captures(), path })
    }

    /// All routes, in routefinder's order.
    pub fn routes(&self) -> impl Iterator<Item = &Route<T>> {
        self.finder.iter().map(|(_, route)| route)
    }

    /// Whether a route lies where the host answers itself.
    pub fn has_reserved(&self) -> bool {
        self.routes().any(|route| route.based.starts_with(WELL_KNOWN_PREFIX))
    }
}

fn based(raw: &str) -> String {
    let absolute: Cow<'_, str> = if raw.starts_with('/') { raw.into() } else { format!("/{raw}").into() };
    absolute.strip_suffix('/').unwrap_or(&absolute).to_owned()
}

/// A path with the route that it belongs to.
#[derive(Debug)]
pub struct Match<'a, T> {
    /// The route.
    pub route: &'a Route<T>,
    captures: routefinder::Captures<'a, 'a>,
    path: &'a str,
}

impl<T> Match<'_, T> {
    /// What the trailing wildcard stands for, with a leading slash, and a trailing one where the path has it.
    pub fn path_info(&self) -> Cow<'_, str> {
        match self.captures.wildcard() {
            None => "".into(),
            Some("") if self.path.ends_with('/') => "/".into(),
            Some("") => "".into(),
            Some(rest) if self.path.ends_with('/') => format!("/{rest}/").into(),
            Some(rest) => format!("/{rest}").into(),
        }
    }

    /// Names and values of `:name` segments.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.captures.params().iter().map(|capture| (capture.name(), capture.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[&str]) -> Router<usize> {
        Router::new(routes.iter().enumerate().map(|(n, route)| ((*route).to_owned(), n)))
            .expect("valid routes")
    }

    fn found<'a>(router: &'a Router<usize>, path: &'a str) -> Option<&'a str> {
        router.find(path).map(|found| found.route.raw.as_str())
    }

    #[test]
    fn an_exact_route_takes_its_path_with_and_without_slashes() {
        let router = router(&["/foo", "bar/", "/"]);
        for (path, route) in [
            ("/foo", "/foo"),
            ("/foo/", "/foo"),
            ("//foo//", "/foo"),
            ("/bar", "bar/"),
            ("/bar/", "bar/"),
            ("/", "/"),
        ] {
            assert_eq!(found(&router, path), Some(route), "{path}");
        }
        for path in ["/foo/bar", "/fo", "/fooo", "/foo%2f", "/FOO"] {
            assert_eq!(found(&router, path), None, "{path}");
        }
    }

    #[test]
    fn path_info_of_a_wildcard_has_four_forms() {
        let router = router(&["/foo/...", "/exact"]);
        let path_info = |path: &str| router.find(path).map(|found| found.path_info().into_owned());
        assert_eq!(path_info("/foo").as_deref(), Some(""));
        assert_eq!(path_info("/foo/").as_deref(), Some("/"));
        assert_eq!(path_info("/foo/bar").as_deref(), Some("/bar"));
        assert_eq!(path_info("/foo/bar/").as_deref(), Some("/bar/"));
        assert_eq!(path_info("/foo/a/b.c/d").as_deref(), Some("/a/b.c/d"));
        assert_eq!(path_info("/exact/").as_deref(), Some(""));
        assert_eq!(path_info("/fo"), None);
    }

    #[test]
    fn the_more_specific_route_wins_in_any_order() {
        let routes = ["/...", "/a/...", "/a/:x", "/a/b", "/a/b/...", "/:x/b"];
        let reversed: Vec<&str> = routes.iter().rev().copied().collect();
        for router in [router(&routes), router(&reversed)] {
            for (path, route) in [
                ("/", "/..."),
                ("/z", "/..."),
                ("/a", "/a/..."),
                ("/a/z", "/a/:x"),
                ("/a/b", "/a/b"),
                ("/a/b/c", "/a/b/..."),
                ("/a/z/c", "/a/..."),
                ("/z/b", "/:x/b"),
            ] {
                assert_eq!(found(&router, path), Some(route), "{path}");
            }
        }
    }

    #[test]
    fn parameters_take_one_segment_and_stop_at_dots() {
        let router = router(&["/base/:path_segment/:path_end/...", "/file/:name.json"]);
        let path = "/base/path/end/rest";
        let found = router.find(path).expect("matches");
        let mut parameters: Vec<_> = found.parameters().collect();
        parameters.sort_unstable();
        assert_eq!(parameters, [("path_end", "end"), ("path_segment", "path")]);
        assert_eq!(found.path_info(), "/rest");
        let file = router.find("/file/a.json").expect("matches");
        assert_eq!(file.parameters().collect::<Vec<_>>(), [("name", "a")]);
        assert!(router.find("/file/a.b.json").is_none());
        assert!(router.find("/base/path").is_none());
    }

    #[test]
    fn the_later_of_two_equal_routes_wins() {
        let router = router(&["/a", "/b", "/a"]);
        assert_eq!(router.find("/a").map(|found| found.route.target), Some(2));
        assert_eq!(router.duplicates, [Duplicate { route: "/a".to_owned() }]);
    }

    #[test]
    fn routes_are_shown_as_spin_shows_them() {
        let mut shown: Vec<_> = router(&["/...", "/a/...", "/b/"]).routes().map(Route::shown).collect();
        shown.sort_unstable();
        assert_eq!(shown, [" (wildcard)", "/a (wildcard)", "/b"]);
        assert!(router(&["/.well-known/spin/health"]).has_reserved());
        assert!(!router(&["/.well-known/spin"]).has_reserved());
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_named() {
        for route in ["/a/:", "/a/*b"] {
            let error = Router::new([(route.to_owned(), 0)]).map(|_| ()).expect_err("refused");
            assert!(error.to_string().contains(&format!("route {route:?} cannot be used")), "{error}");
        }
    }
}
