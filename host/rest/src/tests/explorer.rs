//! The page that shows the OpenAPI document: all of it comes from this server, and it shows the document of this server.

use axum::body::Body;
use axum::http::{Method, StatusCode};

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
