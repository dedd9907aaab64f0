//! Owns what functions call besides the database and the queues: STS, and the buckets where the
//! template has any.

use std::io;

use crate::application::Application;
use crate::bucket::{self, Objects};
use crate::clock::Clock;
use crate::identity::Identities;
use crate::sts;

/// The running endpoints.
#[derive(Debug)]
pub(crate) struct Services {
    sts: sts::Endpoint,
    buckets: Option<bucket::Endpoint>,
}

impl Services {
    /// # Errors
    /// No port can be had.
    pub(crate) async fn start(
        application: &Application,
        identities: &Identities,
        objects: Objects,
        region: &str,
        clock: &Clock,
    ) -> io::Result<Self> {
        let sts = sts::Endpoint::start(identities.assumable.clone(), clock.clone()).await?;
        let buckets = if application.buckets.is_empty() {
            None
        } else {
            let (buckets, callers) = (application.buckets.clone(), identities.callers(application));
            let clock = clock.clone();
            Some(bucket::Endpoint::start(0, buckets, objects, callers, region, clock).await?)
        };
        Ok(Self { sts, buckets })
    }

    /// Where the buckets are, without a slash at the end; `None` where there are none.
    pub(crate) fn buckets_url(&self) -> Option<String> {
        self.buckets.as_ref().map(bucket::Endpoint::url)
    }

    /// The variables that lead the AWS clients of functions there.
    pub(crate) fn endpoints(&self) -> Vec<(&'static str, String)> {
        let buckets = self.buckets_url().map(|url| ("AWS_ENDPOINT_URL_S3", url));
        let sts = ("AWS_ENDPOINT_URL_STS", self.sts.url());
        std::iter::once(sts).chain(buckets).collect()
    }
}
