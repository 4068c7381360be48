//! Packages for updates over the air (REST §2.8): their facts, their files, in and out as streams.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::body::{Body as AxumBody, Bytes};
use axum::extract::multipart::Field;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use wireglot_device::{
    DeviceError, Devices, FileDraft, FileError, OtaPackageDraft, OtaUrlDraft, Rule, StoredFile, checksum, now,
};
use wireglot_model::{
    ChecksumAlgorithm, OtaContent, OtaFile, OtaKind, OtaPackage, OtaPackageId, ProfileId, TenantId,
};

use crate::Api;
use crate::access::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::form::{Form, arriving};
use crate::openapi::schemas::{ChecksumName, OtaType};
use crate::openapi::{params, schemas};
use crate::page::Page;
use crate::request::{Body, Params, blocking, carried_through, id};
use crate::shape::{EntityRef, entity};

/// Bytes that are gathered before they are written, and read at once.
const STEP_BYTES: usize = 256 * 1024;
const FILE_NAME: HeaderName = HeaderName::from_static("x-filename");

/// What of a package can be written, and what says which package is meant.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtaPackageBody)]
struct PackageBody {
    /// Of the package that is changed; without one a package is made.
    id: Option<EntityRef>,
    #[schema(required, nullable = false, inline, value_type = OtaType)]
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The profile whose devices may have it; without one all may.
    device_profile_id: Option<EntityRef>,
    #[schema(required, nullable = false, min_length = 1, max_length = 255)]
    title: Option<String>,
    #[schema(required, nullable = false, min_length = 1, max_length = 255)]
    version: Option<String>,
    /// Title and version where nothing is said.
    tag: Option<String>,
    /// Where devices get it from, rather than from here.
    url: Option<String>,
    #[serde(default)]
    uses_url: bool,
    data_size: Option<u64>,
    #[schema(inline, value_type = Option<ChecksumName>)]
    checksum_algorithm: Option<String>,
    checksum: Option<String>,
    /// Any JSON.
    #[schema(value_type = Value, required = false)]
    additional_info: Option<Value>,
}

impl PackageBody {
    fn into_draft(self) -> Result<OtaPackageDraft, ApiError> {
        let kind = self.kind.ok_or_else(|| ApiError::bad_request("Type should be specified!"))?;
        let profile: Option<ProfileId> = self.device_profile_id.map(|profile| id(&profile.id)).transpose()?;
        let (title, version) = (self.title.unwrap_or_default(), self.version.unwrap_or_default());
        // An empty one is the way to say that there is to be none.
        let tag = self.tag.unwrap_or_else(|| format!("{title} {version}"));
        let checksum = match (self.checksum_algorithm, self.checksum) {
            (Some(algorithm), Some(checksum)) => Some((algorithm_of(&algorithm)?, checksum)),
            (None | Some(_), None) | (None, Some(_)) => None,
        };
        let is_remote = self.uses_url || self.url.as_ref().is_some_and(|url| !url.is_empty());
        Ok(OtaPackageDraft {
            kind: kind_of(&kind)?,
            profile,
            title,
            version,
            tag: (!tag.is_empty()).then_some(tag),
            url: is_remote.then(|| OtaUrlDraft {
                url: self.url.unwrap_or_default(),
                bytes: self.data_size,
                checksum,
            }),
            additional_info: self.additional_info.unwrap_or(Value::Null).to_string(),
        })
    }
}

fn kind_of(text: &str) -> Result<OtaKind, ApiError> {
    let known = OtaKind::ALL.into_iter().find(|kind| kind.name() == text);
    known.ok_or_else(|| ApiError::bad_request(format!("The type is FIRMWARE or SOFTWARE, not '{text}'")))
}

fn algorithm_of(text: &str) -> Result<ChecksumAlgorithm, ApiError> {
    text.parse().map_err(|_| {
        let known = ChecksumAlgorithm::NAMES.map(|(name, _)| name).join(", ");
        ApiError::bad_request(format!("The checksum algorithm is one of {known}, not '{text}'"))
    })
}

/// Makes a package without a file, or changes the additional information of one.
#[utoipa::path(
    post,
    path = "/api/otaPackage",
    operation_id = "saveOtaPackage",
    tag = "OTA packages",
    request_body = PackageBody,
    responses(
        (status = 200, description = "The package as it is now.", body = schemas::OtaPackageInfo),
        (status = 404, description = "There is no package of this id.", body = ErrorBody),
    ),
)]
pub(crate) async fn save(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let body: PackageBody = body.json()?;
    let known: Option<OtaPackageId> = body.id.as_ref().map(|known| id(&known.id)).transpose()?;
    let draft = body.into_draft()?;
    let devices = api.devices.acting_for(caller.actor());
    let saved = carried_through(async move {
        match known {
            Some(known) => devices.update_ota_package(known, draft, now()).await,
            None => devices.create_ota_package(draft, now()).await,
        }
    });
    Ok(Json(write(&*saved.await?, api.devices.tenant())))
}

/// Uploads the file of a package.
#[utoipa::path(
    post,
    path = "/api/otaPackage/{otaPackageId}",
    operation_id = "uploadOtaPackage",
    tag = "OTA packages",
    params(
        params::PackagePath,
        ("checksumAlgorithm" = inline(Option<schemas::ChecksumName>), Query, description = "How the checksum is made; SHA256 where nothing is said."),
        ("checksum" = Option<String>, Query, description = "The checksum, as hex: a file with another one is refused. Computed where nothing is said."),
    ),
    request_body(content = schemas::OtaForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "The package as it is now.", body = schemas::OtaPackageInfo)),
)]
pub(crate) async fn upload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(package): Path<String>,
    params: Params,
    form: Form,
) -> Result<Json<Value>, ApiError> {
    let package: OtaPackageId = id(&package)?;
    let algorithm = params.text("checksumAlgorithm").unwrap_or("SHA256");
    let algorithm = algorithm_of(algorithm)?;
    let given = params.text("checksum").map(str::to_lowercase);
    match api.devices.ota_package(package).ok_or_else(ApiError::not_found)?.content {
        OtaContent::Pending => {}
        // The same is asked again when the file is there; here it spares the upload.
        OtaContent::File(_) => return Err(DeviceError::from(Rule::PackageFixed("data")).into()),
        OtaContent::Url { .. } => return Err(DeviceError::from(Rule::PackageFixed("url")).into()),
    }
    let Received { draft, name, content_type } = receive(&api.devices, form).await?;
    let devices = api.devices.acting_for(caller.actor());
    // Whoever goes away while the checksum is made leaves no file behind that belongs to nobody.
    let saved = carried_through(async move {
        let keeping = move || keep(draft, algorithm, given, name, content_type);
        let kept = tokio::task::spawn_blocking(keeping).await;
        let file = kept.map_err(|broken| DeviceError::NotAccepted(broken.to_string()))??;
        let stored = file.file;
        let saved = devices.set_ota_file(package, file, now()).await;
        if saved.is_err() {
            remove(&devices, stored);
        }
        saved
    });
    Ok(Json(write(&*saved.await?, api.devices.tenant())))
}

/// A file that has arrived, with what the form says of it.
struct Received {
    draft: FileDraft,
    name: String,
    content_type: String,
}

/// Writes the part `file` to the disk as it arrives.
async fn receive(devices: &Devices, mut form: Form) -> Result<Received, ApiError> {
    let missing = || ApiError::bad_request("The form has no part 'file' with a file name");
    loop {
        let field = form.next_part().await?.ok_or_else(missing)?;
        if field.name() != Some("file") {
            continue;
        }
        let name = field.file_name().filter(|name| !name.is_empty()).ok_or_else(missing)?.to_owned();
        let content_type = field.content_type().unwrap_or("application/octet-stream").to_owned();
        let draft = write_down(devices, field).await?;
        return Ok(Received { draft, name, content_type });
    }
}

async fn write_down(devices: &Devices, mut field: Field<'_>) -> Result<FileDraft, ApiError> {
    let files = devices.files().clone();
    let mut draft = blocking(move || Ok(files.draft()?)).await?;
    let mut gathered = Vec::with_capacity(STEP_BYTES);
    loop {
        let piece = arriving(field.chunk()).await?;
        let is_end = piece.is_none();
        gathered.extend_from_slice(&piece.unwrap_or_default());
        if is_end || gathered.len() >= STEP_BYTES {
            let step = std::mem::take(&mut gathered);
            draft = blocking(move || {
                draft.write(&step)?;
                Ok(draft)
            })
            .await?;
        }
        if is_end {
            return Ok(draft);
        }
    }
}

/// Checks the file and makes it durable.
fn keep(
    mut draft: FileDraft,
    algorithm: ChecksumAlgorithm,
    given: Option<String>,
    name: String,
    content_type: String,
) -> Result<OtaFile, DeviceError> {
    let is = checksum(algorithm, draft.contents().map_err(FileError::from)?).map_err(FileError::from)?;
    if let Some(given) = given.filter(|given| *given != is) {
        return Err(Rule::WrongChecksum { algorithm, is, given }.into());
    }
    let bytes = draft.bytes();
    let file = draft.keep()?;
    Ok(OtaFile { file, bytes, algorithm, checksum: is, name, content_type })
}

/// Removes a file that no package has any more, on a thread that may wait for the disk.
fn remove(devices: &Devices, file: uuid::Uuid) {
    let files = devices.files().clone();
    let removing = move || {
        if let Err(error) = files.remove(file) {
            tracing::warn!(%error, "The file of a package cannot be removed; the next start does it.");
        }
    };
    // Nobody waits for it: the package is gone already.
    drop(tokio::task::spawn_blocking(removing));
}

/// Shows a package.
#[utoipa::path(
    get,
    path = "/api/otaPackage/info/{otaPackageId}",
    operation_id = "readOtaPackage",
    tag = "OTA packages",
    params(params::PackagePath),
    responses((status = 200, description = "The package.", body = schemas::OtaPackageInfo)),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    Path(package): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(write(&*find(&api, &package)?, api.devices.tenant())))
}

/// Downloads the file of a package.
#[utoipa::path(
    get,
    path = "/api/otaPackage/{otaPackageId}/download",
    operation_id = "downloadOtaPackage",
    tag = "OTA packages",
    params(params::PackagePath),
    responses(
        (status = 200, description = "The file, with the content type that it was uploaded with.", content((schemas::Binary = "application/octet-stream"), (schemas::Binary = "*/*"))),
    ),
)]
pub(crate) async fn download(
    State(api): State<Api>,
    Path(package): Path<String>,
) -> Result<Response, ApiError> {
    let package = find(&api, &package)?;
    let OtaContent::File(facts) = &package.content else { return Err(ApiError::not_found()) };
    let (files, name) = (api.devices.files().clone(), facts.file);
    let file = blocking(move || files.read(name).map_err(|error| FileError::from(error).into())).await?;
    let headers = attachment(facts, facts.bytes);
    Ok((headers, AxumBody::from_stream(steps(file, 0, facts.bytes))).into_response())
}

/// What is said of so many bytes of a file.
pub(crate) fn attachment(facts: &OtaFile, bytes: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    let shown: String = facts.name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let texts = [
        (CONTENT_TYPE, facts.content_type.clone()),
        (CONTENT_DISPOSITION, format!("attachment; filename={shown}")),
        (FILE_NAME, shown),
    ];
    for (header, text) in texts {
        // What a client once sent as a type may be no header.
        let text =
            HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"));
        headers.insert(header, text);
    }
    headers
}

/// What needs no quoting in a header.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | '+')
}

/// The bytes of a file from `offset` to `end`, read step by step on a thread that may wait for the disk.
pub(crate) fn steps(
    file: Arc<StoredFile>,
    offset: u64,
    end: u64,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(offset, move |offset| {
        let file = file.clone();
        async move {
            let left = usize::try_from(end - offset).unwrap_or(usize::MAX).min(STEP_BYTES);
            if left == 0 {
                return Ok(None);
            }
            let step = tokio::task::spawn_blocking(move || {
                let mut step = vec![0; left];
                file.read_at(&mut step, offset).map(|()| Bytes::from(step))
            });
            let step = step.await.map_err(std::io::Error::other)??;
            Ok(Some((step, offset + left as u64)))
        }
    })
}

/// Deletes a package that no device and no profile refers to.
#[utoipa::path(
    delete,
    path = "/api/otaPackage/{otaPackageId}",
    operation_id = "deleteOtaPackage",
    tag = "OTA packages",
    params(params::PackagePath),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(package): Path<String>,
) -> Result<(), ApiError> {
    let package: OtaPackageId = id(&package)?;
    let devices = api.devices.acting_for(caller.actor());
    carried_through(async move {
        if let Some(file) = devices.delete_ota_package(package, now()).await? {
            remove(&devices, file);
        }
        Ok(())
    })
    .await
}

/// Lists packages.
#[utoipa::path(
    get,
    path = "/api/otaPackages",
    operation_id = "listOtaPackages",
    tag = "OTA packages",
    params(params::Paging, params::PackageSort),
    responses(
        (status = 200, description = "A page of packages.", body = schemas::PageOf<schemas::OtaPackageInfo>),
    ),
)]
pub(crate) async fn list(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    page(api, &params, |_| true).await
}

/// Lists the packages that devices of a profile can be assigned.
#[utoipa::path(
    get,
    path = "/api/otaPackages/{deviceProfileId}/{type}",
    operation_id = "listOtaPackagesOfProfile",
    tag = "OTA packages",
    params(
        params::ProfilePath,
        ("type" = inline(schemas::OtaType), Path, description = "Firmware or software."),
        params::Paging,
        params::PackageSort,
    ),
    responses(
        (status = 200, description = "A page of packages.", body = schemas::PageOf<schemas::OtaPackageInfo>),
    ),
)]
pub(crate) async fn list_of_profile(
    State(api): State<Api>,
    Path((profile, kind)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let (profile, kind): (ProfileId, _) = (id(&profile)?, kind_of(&kind)?);
    api.devices.profile(profile).ok_or_else(ApiError::not_found)?;
    let is_wanted = move |package: &OtaPackage| {
        let is_for = package.profile.is_none_or(|only| only == profile);
        is_for && package.kind == kind && package.content != OtaContent::Pending
    };
    page(api, &params, is_wanted).await
}

async fn page(
    api: Api,
    params: &Params,
    is_wanted: impl Fn(&OtaPackage) -> bool + Send + 'static,
) -> Result<Json<Value>, ApiError> {
    let page = Page::from_params(params)?;
    let listing = blocking(move || {
        let mut found = api.devices.ota_packages();
        found.retain(|package| {
            let tag = package.tag.as_deref().unwrap_or_default();
            is_wanted(package) && page.finds(&[&package.title, &package.version, tag])
        });
        Ok(page.answer(found, compare, |package| write(package, api.devices.tenant())))
    });
    listing.await?.map(Json)
}

fn compare(property: &str, one: &Arc<OtaPackage>, other: &Arc<OtaPackage>) -> Option<Ordering> {
    let order = match property {
        "createdTime" => (one.created, one.id).cmp(&(other.created, other.id)),
        "title" | "name" => one.title.cmp(&other.title),
        "version" => one.version.cmp(&other.version),
        "tag" => one.tag.cmp(&other.tag),
        "type" => one.kind.cmp(&other.kind),
        _ => return None,
    };
    Some(order)
}

fn find(api: &Api, package: &str) -> Result<Arc<OtaPackage>, ApiError> {
    api.devices.ota_package(id(package)?).ok_or_else(ApiError::not_found)
}

fn write(package: &OtaPackage, tenant: TenantId) -> Value {
    let additional_info: Value = serde_json::from_str(&package.additional_info).unwrap_or(Value::Null);
    let mut shape = json!({
        "id": entity("OTA_PACKAGE", package.id),
        "createdTime": package.created.0,
        "tenantId": entity("TENANT", tenant),
        "deviceProfileId": package.profile.map(|profile| entity("DEVICE_PROFILE", profile)),
        "type": package.kind.name(),
        "title": package.title,
        "name": package.title,
        "version": package.version,
        "tag": package.tag,
        "url": null,
        "hasData": false,
        "fileName": null,
        "contentType": null,
        "checksumAlgorithm": null,
        "checksum": null,
        "dataSize": null,
        "externalId": null,
        "additionalInfo": additional_info,
    });
    let known = match &package.content {
        OtaContent::Pending => json!({}),
        OtaContent::Url { url, bytes, checksum } => json!({
            "url": url,
            "hasData": true,
            "dataSize": bytes,
            "checksumAlgorithm": checksum.as_ref().map(|(algorithm, _)| algorithm.to_string()),
            "checksum": checksum.as_ref().map(|(_, checksum)| checksum),
        }),
        OtaContent::File(file) => json!({
            "hasData": true,
            "fileName": file.name,
            "contentType": file.content_type,
            "dataSize": file.bytes,
            "checksumAlgorithm": file.algorithm.to_string(),
            "checksum": file.checksum,
        }),
    };
    if let (Some(shape), Value::Object(known)) = (shape.as_object_mut(), known) {
        shape.extend(known);
    }
    shape
}
