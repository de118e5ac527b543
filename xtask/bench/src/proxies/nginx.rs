//! nginx, alone and with the rules in Lua.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Behind, Contender, Setup, Site, filled, find_program, free_address, shown};
use crate::files::write;
use crate::terminal::{Result, output};

/// Where distributions keep its modules.
const MODULES: [&str; 4] =
    ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules", "/etc/nginx/modules"];

pub(super) struct Nginx {
    program: PathBuf,
    version: String,
    /// In the order in which they are loaded.
    lua: Option<[PathBuf; 2]>,
}

impl Nginx {
    pub(super) fn find() -> Option<Self> {
        let program = find_program("nginx", None)?;
        Some(Self { version: version(&program), program, lua: lua_modules() })
    }

    pub(super) fn has_lua(&self) -> bool {
        self.lua.is_some()
    }

    /// What the others are compared with.
    pub(super) fn ready(&self, setup: Setup, site: &Site) -> Result<Contender> {
        let server = match setup.behind {
            Behind::Server => include_str!("nginx-server.conf"),
            Behind::Grpc => include_str!("nginx-grpc.conf"),
            Behind::Files => include_str!("nginx-files.conf"),
            Behind::Cache => include_str!("nginx-cache.conf"),
        };
        self.with(&self.version, "nginx", "", server, setup, site).map(Contender::into_baseline)
    }

    /// With three rules.
    pub(super) fn ready_with_lua(&self, setup: Setup, site: &Site) -> Result<Option<Contender>> {
        let Some(modules) = &self.lua else { return Ok(None) };
        let modules: String =
            modules.iter().map(|module| format!("load_module {};\n", module.display())).collect();
        let name = format!("{}, the same rules in Lua", self.version);
        self.with(&name, "nginx-lua", &modules, include_str!("nginx-lua.conf"), setup, site).map(Some)
    }

    fn with(
        &self,
        name: &str,
        folder: &str,
        modules: &str,
        server: &str,
        setup: Setup,
        site: &Site,
    ) -> Result<Contender> {
        let (address, folder) = (free_address()?, site.folder.join(folder));
        // What it kept of another case.
        let _ = fs::remove_dir_all(folder.join("cache"));
        let certificate = &site.certificate;
        let tls = match setup.is_secure {
            true => format!(
                "ssl_certificate {}; ssl_certificate_key {};",
                shown(&certificate.chain),
                shown(&certificate.key)
            ),
            false => String::new(),
        };
        let values = [
            ("MODULES", modules),
            ("SERVER_CONF", server),
            ("LISTEN", &format!("{address}{}", if setup.is_secure { " ssl http2" } else { "" })),
            ("TLS", &tls),
            ("LOG", if setup.has_log { "access.log combined" } else { "off" }),
            ("SERVER", &site.server.to_string()),
            ("GRPC_SERVER", &site.grpc_server.to_string()),
            ("WWW", &shown(&site.www)),
        ];
        let file = write(&folder, "nginx.conf", &filled(include_str!("nginx.conf"), &values)?)?;
        let arguments = ["-p", &shown(&folder), "-c", &shown(&file)];
        Ok(Contender::new(name, &self.program, &folder, &arguments, address))
    }
}

/// `nginx 1.22.1`: it writes `nginx version: nginx/1.22.1` to stderr.
fn version(nginx: &Path) -> String {
    let shown =
        output(Command::new("sh").arg("-c").arg("exec \"$0\" -v 2>&1").arg(nginx)).unwrap_or_default();
    let version = shown.rsplit_once('/').and_then(|(_, version)| version.split_whitespace().next());
    version.map_or_else(|| "nginx".to_owned(), |version| format!("nginx {version}"))
}

fn lua_modules() -> Option<[PathBuf; 2]> {
    MODULES.iter().find_map(|folder| {
        let modules =
            ["ndk_http_module.so", "ngx_http_lua_module.so"].map(|name| Path::new(folder).join(name));
        modules.iter().all(|module| module.is_file()).then_some(modules)
    })
}
