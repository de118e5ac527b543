//! `tidegate demo --acme`: a certificate from pebble, a small authority for tests, as from any other.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::choose_port;

/// The name that the certificate is for.
pub(super) const NAME: &str = "tidegate.localhost";

/// For pebble to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pebble, and the name server it asks, which leads every name here. Both end with this.
pub(super) struct Authority {
    /// The URL of its directory.
    pub(super) directory: String,
    /// Where its own certificate is, which it makes anew each time.
    pub(super) root: String,
    _programs: [Program; 2],
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Authority {
    /// Starts it, with its files in `folder`. It looks at names on the ports of the proxy.
    pub(super) fn start(folder: &Path, http: u16, tls: u16) -> Result<Self, String> {
        let problem = |error: io::Error| format!("cannot set up the authority: {error}");
        let [own, management, names, changes] = [(); 4].map(|()| choose_port(0).map_err(problem));
        let (own, management, names, changes) = (own?, management?, names?, changes?);
        fs::create_dir(folder).map_err(problem)?;
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .map_err(|error| problem(io::Error::other(error)))?;
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{own}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": folder.join("authority.pem"),
            "privateKey": folder.join("authority.key"),
            "httpPort": http,
            "tlsPort": tls,
        }});
        let files = [
            ("authority.pem", certificate.cert.pem()),
            ("authority.key", certificate.signing_key.serialize_pem()),
            ("pebble.json", config.to_string()),
        ];
        for (name, content) in files {
            fs::write(folder.join(name), content).map_err(problem)?;
        }
        let resolver = format!("127.0.0.1:{names}");
        let resolving = spawn(Command::new("pebble-challtestsrv").args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-dns01",
            &resolver,
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-management",
            &format!("127.0.0.1:{changes}"),
        ]))?;
        let signing = spawn(
            Command::new("pebble")
                .arg("-config")
                .arg(folder.join("pebble.json"))
                .args(["-dnsserver", &resolver])
                .env("PEBBLE_VA_NOSLEEP", "1"),
        )?;
        let started = Self {
            directory: format!("https://localhost:{own}/dir"),
            root: format!("https://localhost:{management}/roots/0"),
            _programs: [resolving, signing],
        };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", own)).is_err() {
            if Instant::now() > until {
                return Err(format!("pebble does not listen after {} s", PATIENCE.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(started)
    }
}

fn spawn(command: &mut Command) -> Result<Program, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        format!(
            "cannot run {program}: {error}; --acme needs pebble and pebble-challtestsrv in PATH (Debian: apt install pebble)"
        )
    });
    child.map(Program)
}
