//! The page that makes a browser a peer: its files, which are part of this binary, and the headers
//! that keep everything else out of it. Built from `web/`; see `web/README.md`. Used by `http`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// A file of the page.
pub(crate) struct File {
    /// Its path on the server.
    pub(crate) path: &'static str,
    name: &'static str,
    content_type: &'static str,
    contents: &'static [u8],
    /// SHA-256 in hexadecimal digits, counted once.
    digest: LazyLock<String>,
}

macro_rules! file {
    ($path:literal, $name:literal, $content_type:literal) => {{
        const CONTENTS: &[u8] = include_bytes!(concat!("../web/dist/", $name));
        File {
            path: $path,
            name: $name,
            content_type: $content_type,
            contents: CONTENTS,
            digest: LazyLock::new(|| digest(CONTENTS)),
        }
    }};
}

/// Every file there is.
pub(crate) static FILES: [File; 9] = [
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/app.js", "app.js", "text/javascript; charset=utf-8"),
    file!("/style.css", "style.css", "text/css; charset=utf-8"),
    file!("/worker.js", "worker.js", "text/javascript; charset=utf-8"),
    file!("/keep.js", "keep.js", "text/javascript; charset=utf-8"),
    file!("/app.webmanifest", "app.webmanifest", "application/manifest+json"),
    file!("/icon.svg", "icon.svg", "image/svg+xml"),
    file!("/icon-192.png", "icon-192.png", "image/png"),
    file!("/icon-512.png", "icon-512.png", "image/png"),
];

/// SHA-256 of each of the page's files, one a line, in the form that `sha256sum -c` reads.
#[must_use]
pub fn page_hash() -> String {
    FILES.iter().fold(String::new(), |mut lines, file| {
        // Writing to a text cannot fail.
        let _ = writeln!(lines, "{}  {}", *file.digest, file.name);
        lines
    })
}

fn digest(contents: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(contents))
}

impl File {
    /// The file, or that it is what the browser has. `host` is the name that the server was called.
    pub(crate) fn response(&self, headers: &HeaderMap, host: Option<&Authority>) -> Response {
        let tag = format!("\"{}\"", *self.digest);
        let is_there =
            headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut response = if is_there {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(CONTENT_TYPE, self.content_type)], self.contents).into_response()
        };
        let headers = response.headers_mut();
        for (name, value) in [(ETAG, tag), (CONTENT_SECURITY_POLICY, policy(host))] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        for (name, value) in FIXED {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}

/// Headers of every file, by their names in lower case.
const FIXED: [(&str, &str); 6] = [
    // Looked at again each time: the page and the server change together.
    ("cache-control", "no-cache"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

/// Nothing inline, nothing from elsewhere. Browsers differ in whether `'self'` means the WebSocket
/// too, so it is named.
fn policy(host: Option<&Authority>) -> String {
    let is_plain = |host: &&str| {
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
    };
    let socket = host.map(Authority::as_str).filter(is_plain);
    let socket = socket.map(|host| format!(" ws://{host} wss://{host}")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'{socket}; \
         img-src 'self' blob: data:; media-src 'self' blob:; worker-src 'self'; \
         manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_the_host_only_when_that_is_plain() {
        let of = |host: &str| policy(host.parse().ok().as_ref());
        assert!(of("box.local:9477").contains("connect-src 'self' ws://box.local:9477 wss://"));
        assert!(of("[::1]:9477").contains(" ws://[::1]:9477 "));
        assert!(of("a;script-src").contains("connect-src 'self'; "));
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for file in &FILES {
            let text = String::from_utf8_lossy(file.contents);
            let is_code = !file.content_type.starts_with("image/");
            let outside = text.matches("https://").count() + text.matches("http://").count();
            // The one that names things: the namespace of SVG, and the scheme of links in text.
            assert!(!is_code || !text.contains("src=\"http"), "{}", file.name);
            assert!(file.name == "app.js" || !is_code || outside == 0, "{}", file.name);
        }
    }

    #[test]
    fn the_hash_names_every_file() {
        let hash = page_hash();
        assert_eq!(hash.lines().count(), FILES.len());
        for (line, file) in hash.lines().zip(&FILES) {
            assert_eq!(line, format!("{}  {}", digest(file.contents), file.name));
        }
    }
}
