//! The configuration file: `p2pshare/config.toml` where the system keeps such files, or in
//! `P2PSHARE_CONFIG_DIR`.

use std::{io, path::PathBuf};

use etcetera::{BaseStrategy, choose_base_strategy};
use p2pshare::{Error, ProxyUrl, ServerUrl};
use serde::Deserialize;

/// What the file can say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    server: Option<String>,
    proxy: Option<String>,
    tls_ca: Option<PathBuf>,
}

impl Config {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`Error::Usage`] when it cannot be read or makes no sense.
    pub(crate) fn load() -> Result<Self, Error> {
        let Some(path) = path() else { return Ok(Self::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| wrong(&path, &error.message())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(&path, &error)),
        }
    }

    /// The server that it names.
    ///
    /// # Errors
    /// [`Error::Usage`] when that is not the address of one.
    pub(crate) fn server(&self) -> Result<Option<ServerUrl>, Error> {
        let server = self.server.as_deref().map(str::parse).transpose();
        server.map_err(|error| Error::Usage(format!("The configured server is wrong: {error}")))
    }

    /// The proxy that it names.
    ///
    /// # Errors
    /// [`Error::Usage`] when that is not the address of one.
    pub(crate) fn proxy(&self) -> Result<Option<ProxyUrl>, Error> {
        let proxy = self.proxy.as_deref().map(str::parse).transpose();
        proxy.map_err(|error| Error::Usage(format!("The configured proxy is wrong: {error}")))
    }

    /// The authority that it names.
    pub(crate) fn tls_ca(self) -> Option<PathBuf> {
        self.tls_ca
    }
}

fn path() -> Option<PathBuf> {
    let folder = match std::env::var_os("P2PSHARE_CONFIG_DIR") {
        Some(folder) => folder.into(),
        None => choose_base_strategy().ok()?.config_dir().join("p2pshare"),
    };
    Some(folder.join("config.toml"))
}

fn wrong(path: &std::path::Path, what: &dyn std::fmt::Display) -> Error {
    Error::Usage(format!("{} cannot be used: {what}", path.display()))
}
