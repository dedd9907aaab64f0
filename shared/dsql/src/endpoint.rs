//! The cluster's address: its host name and the region in it (AWS's own pattern is
//! `<id>.dsql[-suffix].<region>.on.aws`, id of 26 lower-case letters and digits).

use std::net::IpAddr;

/// Where a cluster is, for a client that connects by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Address<'a> {
    /// The host name: for TLS, SNI and the token.
    pub host: &'a str,
    /// The address to connect to instead of resolving the name, for `dsql-local`.
    pub hostaddr: Option<IpAddr>,
    /// The TCP port.
    pub port: u16,
}

/// A cluster's host name, and the region its tokens are signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    region: String,
}

impl Endpoint {
    /// Takes a host name or a 26-character cluster id. `region` overrides the one in a host name
    /// and is required with an id.
    pub(crate) fn parse(text: &str, region: Option<&str>) -> Result<Self, String> {
        if is_cluster_id(text) {
            let region = region.ok_or("a cluster id needs AWS_REGION beside it")?;
            return Ok(Self {
                host: format!("{text}.dsql.{region}.on.aws"),
                region: region.to_owned(),
            });
        }
        let expected = "neither a 26-character cluster id nor a host such as \
                        <id>.dsql.us-east-1.on.aws (no scheme, no port)";
        let host = text.to_ascii_lowercase();
        let mut labels = host.split('.');
        let (Some(id), Some(service), Some(found), Some("on"), Some("aws"), None) = (
            labels.next(),
            labels.next(),
            labels.next(),
            labels.next(),
            labels.next(),
            labels.next(),
        ) else {
            return Err(expected.to_owned());
        };
        let well_formed = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !well_formed(id)
            || !well_formed(service)
            || !service.starts_with("dsql")
            || !is_region(found)
        {
            return Err(expected.to_owned());
        }
        let region = region.unwrap_or(found).to_owned();
        Ok(Self { host, region })
    }

    /// The host name: for TLS, SNI and the token.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let endpoint = config.endpoint();
    /// assert_eq!(endpoint.host(), "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws");
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The region.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// assert_eq!(config.endpoint().region(), "us-east-1");
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn region(&self) -> &str {
        &self.region
    }
}

fn is_cluster_id(text: &str) -> bool {
    text.len() == 26
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

pub(crate) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() >= 3
        && parts.iter().all(|p| {
            !p.is_empty()
                && p.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_link_host_keeps_its_name() {
        let host = "abcdefghijklmnopqrstuvwxyz.dsql-fnh4.us-east-1.on.aws";
        let endpoint = Endpoint::parse(host, None).unwrap();
        assert_eq!((endpoint.host(), endpoint.region()), (host, "us-east-1"));
    }

    #[test]
    fn ports_schemes_and_foreign_hosts_are_refused() {
        for text in [
            "",
            "x",
            "a.dsql.us-east-1.on.aws:5432",
            "postgres://a.dsql.us-east-1.on.aws",
            "a.rds.us-east-1.on.aws",
        ] {
            assert!(Endpoint::parse(text, Some("us-east-1")).is_err(), "{text}");
        }
    }
}
