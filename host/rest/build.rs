//! Takes what the explorer serves out of the archive of Swagger UI. What lies packed there becomes a gzip file without
//! being unpacked.

use std::io::{Cursor, Read as _, Write as _};
use std::path::PathBuf;

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::{CompressionMethod, ZipArchive};

const FILES: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];
/// No name, no time, of no system in particular; what follows is packed by `deflate`, as in the archive.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    writeln!(std::io::stdout(), "cargo::rerun-if-changed=build.rs")?;
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("Cargo names the folder")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index_raw(index)?;
        let name = FILES.into_iter().find(|name| entry.name().ends_with(&format!("/dist/{name}")));
        let Some(name) = name else { continue };
        if entry.compression() != CompressionMethod::DEFLATE {
            return Err(format!("{name} does not lie packed in the archive").into());
        }
        let mut packed = GZIP_HEAD.to_vec();
        entry.read_to_end(&mut packed)?;
        packed.extend(entry.crc32().to_le_bytes());
        packed.extend(u32::try_from(entry.size())?.to_le_bytes());
        std::fs::write(folder.join(format!("{name}.gz")), packed)?;
    }
    Ok(())
}
