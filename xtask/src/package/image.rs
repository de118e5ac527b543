//! An image for containers, as an OCI layout in a tar archive: made of files, without an engine.
//!
//! It has the binary with the libraries that it is linked to, the certificates of authorities, and no shell. Two layers: what is root's,
//! and the folders that the proxy writes to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BINARY, CONFIGURATION, copy, write};
use crate::command::{Result, output, run, say};

/// Who the proxy is in a container, as in the images that others build upon.
const USER: u32 = 65532;

/// Where it may write. What is compiled is kept in a folder within one of its own below the second, since a volume that is mounted there may be
/// open to others.
const WRITABLE: [&str; 2] = ["var/lib/tidegate", "var/cache/tidegate"];

/// As engines call it.
const NAME: &str = "docker.io/library/tidegate";

const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Packs what is staged.
pub(super) fn layout(folder: &Path, staged: &Path, version: &str) -> Result<PathBuf> {
    let (system, state, made) =
        (folder.join("image/system"), folder.join("image/state"), folder.join("image/oci"));
    lay_out(staged, &system)?;
    for place in WRITABLE {
        // The folders that these are in are root's.
        let above = Path::new(place).parent().unwrap_or(Path::new(""));
        fs::create_dir_all(state.join(place))
            .and_then(|()| fs::create_dir_all(system.join(above)))
            .map_err(|error| format!("{place}: {error}"))?;
    }
    let blobs = made.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|error| format!("{}: {error}", blobs.display()))?;
    let layers = [layer(&system, 0, &["."], &blobs)?, layer(&state, USER, &WRITABLE, &blobs)?];
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let unpacked: Vec<_> = layers.iter().map(|layer| format!("\"sha256:{}\"", layer.unpacked)).collect();
    let config = blob(
        &blobs,
        &format!(
            "{{\"architecture\":\"{architecture}\",\"os\":\"linux\",\"config\":{{\"User\":\"{USER}:{USER}\",\
             \"Entrypoint\":[\"/{BINARY}\"],\"Cmd\":[\"run\",\"--config\",\"/{CONFIGURATION}\"],\
             \"Env\":[\"PATH=/usr/bin\",\"CACHE_DIRECTORY=/{}/own/compiled\"],\"StopSignal\":\"SIGTERM\",\"WorkingDir\":\"/{}\",\
             \"Labels\":{{\"org.opencontainers.image.title\":\"tidegate\",\"org.opencontainers.image.version\":\"{version}\",\
             \"org.opencontainers.image.licenses\":\"Apache-2.0\"}}}},\
             \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}}}}",
            WRITABLE[1],
            WRITABLE[0],
            unpacked.join(",")
        ),
    )?;
    let packed: Vec<_> = layers.iter().map(|layer| layer.packed.descriptor(LAYER)).collect();
    let manifest = blob(
        &blobs,
        &format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{},\"layers\":[{}]}}",
            config.descriptor(CONFIG),
            packed.join(",")
        ),
    )?;
    let named = manifest.descriptor(MANIFEST).replacen(
        '}',
        &format!(
            ",\"platform\":{{\"architecture\":\"{architecture}\",\"os\":\"linux\"}},\
             \"annotations\":{{\"org.opencontainers.image.ref.name\":\"{version}\",\"io.containerd.image.name\":\"{NAME}:{version}\"}}}}"
        ),
        1,
    );
    write(&made.join("index.json"), &format!("{{\"schemaVersion\":2,\"manifests\":[{named}]}}"))?;
    // `docker load` of engines that know no layouts goes by this.
    let files: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", layer.packed.path())).collect();
    let listed = format!(
        "[{{\"Config\":\"{}\",\"RepoTags\":[\"{NAME}:{version}\"],\"Layers\":[{}]}}]",
        config.path(),
        files.join(",")
    );
    write(&made.join("manifest.json"), &listed)?;
    write(&made.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    let path = folder.join(format!("tidegate-{version}-{}.oci.tar", std::env::consts::ARCH));
    tar(&made, 0, &["."], &path)?;
    Ok(path)
}

/// What is staged, but for what only a whole system has a use for, and what the binary needs beside it.
fn lay_out(staged: &Path, system: &Path) -> Result<()> {
    fs::create_dir_all(system).map_err(|error| format!("{}: {error}", system.display()))?;
    for part in ["usr/bin", "usr/share/tidegate", "usr/share/doc", "etc"] {
        let parent = system.join(part);
        let parent = parent.parent().unwrap_or(system);
        fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        run(Command::new("cp").arg("--recursive").arg(staged.join(part)).arg(parent))?;
    }
    for library in libraries(&staged.join(BINARY))? {
        copy(&library, &system.join(library.strip_prefix("/").unwrap_or(&library)))?;
    }
    let authorities = Path::new("/").join(AUTHORITIES);
    if authorities.is_file() {
        copy(&authorities, &system.join(AUTHORITIES))?;
    } else {
        say("there is no /etc/ssl/certs/ca-certificates.crt here: the image trusts no authority");
    }
    write(
        &system.join("etc/passwd"),
        &format!("root:x:0:0::/:/\ntidegate:x:{USER}:{USER}::/var/lib/tidegate:/\n"),
    )?;
    write(&system.join("etc/group"), &format!("root:x:0:\ntidegate:x:{USER}:\n"))?;
    let temporary = system.join("tmp");
    fs::create_dir_all(&temporary).map_err(|error| format!("{}: {error}", temporary.display()))?;
    run(Command::new("chmod").arg("1777").arg(temporary))
}

/// What the binary is linked to, as the linker of this machine finds it; the linker itself among it.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let listed = output(Command::new("ldd").arg(binary)).ok_or("`ldd` failed")?;
    let paths = listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

/// A file in the layout.
struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self, kind: &str) -> String {
        format!("{{\"mediaType\":\"{kind}\",\"digest\":\"sha256:{}\",\"size\":{}}}", self.digest, self.size)
    }
}

struct Layer {
    packed: Blob,
    /// The digest of what is packed.
    unpacked: String,
}

fn layer(folder: &Path, owner: u32, what: &[&str], blobs: &Path) -> Result<Layer> {
    let file = blobs.join("layer");
    tar(folder, owner, what, &file)?;
    let unpacked = digest(&file)?;
    run(Command::new("gzip").args(["--no-name", "--force"]).arg(&file))?;
    Ok(Layer { packed: keep(&blobs.join("layer.gz"), blobs)?, unpacked })
}

fn blob(blobs: &Path, text: &str) -> Result<Blob> {
    let file = blobs.join("text");
    write(&file, text)?;
    keep(&file, blobs)
}

/// Gives a file the name of its digest.
fn keep(file: &Path, blobs: &Path) -> Result<Blob> {
    let digest = digest(file)?;
    let size = fs::metadata(file).map(|metadata| metadata.len());
    let kept = size.and_then(|size| fs::rename(file, blobs.join(&digest)).map(|()| size));
    let size = kept.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Blob { digest, size })
}

fn digest(file: &Path) -> Result<String> {
    let sum = output(Command::new("sha256sum").arg(file)).ok_or("`sha256sum` failed")?;
    sum.split_whitespace().next().map(str::to_owned).ok_or("`sha256sum` says nothing".to_owned())
}

/// The same bytes of the same files, whenever.
fn tar(folder: &Path, owner: u32, what: &[&str], file: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--numeric-owner", "--mtime=@0"]);
    tar.args([format!("--owner={owner}"), format!("--group={owner}")]);
    run(tar.arg("--file").arg(file).arg("--directory").arg(folder).args(what))
}
