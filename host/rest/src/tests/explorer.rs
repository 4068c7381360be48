//! The page that shows the OpenAPI document: all of it comes from this server, and it shows the document of this server.

use std::process::Command;

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{Method, Request, StatusCode};
use tempfile::TempDir;
use tower_service::Service as _;

use super::Site;

async fn file(site: &Site, name: &str) -> String {
    let path = format!("/swagger-ui/{name}");
    let (status, text) = site.call_as(&[], Method::GET, &path, Body::empty()).await;
    assert_eq!(status, StatusCode::OK, "{path}");
    text.as_str().unwrap_or_else(|| panic!("{path} is a text")).to_owned()
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let site = Site::new().await;
    let page = file(&site, "").await;
    assert!(!page.contains("//"), "{page}");
    let files: Vec<&str> =
        page.split('"').filter(|text| [".js", ".css"].iter().any(|end| text.ends_with(end))).collect();
    assert_eq!(files, ["swagger-ui.css", "swagger-ui-bundle.js", "initializer.js"]);
    for name in files {
        assert!(!file(&site, name).await.is_empty());
    }
    let start = file(&site, "initializer.js").await;
    assert!(start.contains("url: \"../openapi.json\"") && !start.contains("http"), "{start}");
    assert_eq!(site.get("/openapi.json").await, site.get("/v3/api-docs").await);
    let (status, _) = site.call_as(&[], Method::GET, "/swagger-ui", Body::empty()).await;
    assert_eq!(status, StatusCode::PERMANENT_REDIRECT);
    site.refused(Method::GET, "/swagger-ui/other.js", Body::empty(), 404, 32, "").await;
}

/// What a browser makes of a file that comes packed.
async fn unpacked(site: &Site, name: &str, kind: &str) -> String {
    let request = Request::get(format!("/swagger-ui/{name}")).body(Body::empty()).unwrap();
    let answer = site.router.clone().call(request).await.unwrap();
    let header = |name| answer.headers()[name].to_str().unwrap();
    assert_eq!((header(CONTENT_ENCODING), header(CONTENT_TYPE)), ("gzip", kind), "{name}");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("packed.gz");
    std::fs::write(&file, to_bytes(answer.into_body(), usize::MAX).await.unwrap()).unwrap();
    // It compares length and checksum as well.
    let output = Command::new("gzip").arg("-dc").arg(&file).output().expect("gzip is on every Unix");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it is text")
}

#[tokio::test]
async fn packed_files_unpack_to_what_the_page_needs() {
    let site = Site::new().await;
    let script = unpacked(&site, "swagger-ui-bundle.js", "text/javascript; charset=utf-8").await;
    assert!(script.contains("SwaggerUIBundle") && script.len() > 500_000, "{} bytes", script.len());
    let style = unpacked(&site, "swagger-ui.css", "text/css; charset=utf-8").await;
    assert!(style.contains(".swagger-ui") && style.len() > 50_000, "{} bytes", style.len());
}
