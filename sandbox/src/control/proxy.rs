//! `proxy.*`: listen, then commands for a proxy by its number (the first unless said otherwise).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{parse, unknown};
use crate::error::{Error, Result};
use crate::proxy::{Cut, Direction, Proxy};

/// All proxies by number; a closed one leaves its place empty.
#[derive(Debug, Default)]
pub(super) struct Proxies(Mutex<Vec<Option<Arc<Proxy>>>>);

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Arguments {
    proxy: usize,
    cut: Cut,
    direction: Option<Direction>,
    bytes: Option<u64>,
    millis: Option<u64>,
    target: Option<String>,
    accepted: Option<u64>,
    open: Option<u64>,
    bytes_up: Option<u64>,
    bytes_down: Option<u64>,
}

impl Proxies {
    /// Makes a proxy and describes it.
    pub(super) async fn listen(&self, target: SocketAddr) -> Result<Value> {
        let proxy = Proxy::listen(target).await?;
        let (host, port) = (proxy.address().ip().to_string(), proxy.port());
        let mut all = self.all();
        all.push(Some(Arc::new(proxy)));
        Ok(json!({ "proxy": all.len() - 1, "host": host, "port": port }))
    }

    /// `target` finds the address of a part or reads one.
    pub(super) async fn run(
        &self,
        verb: &str,
        arguments: Value,
        target: impl Fn(&str) -> Result<SocketAddr>,
    ) -> Result<Value> {
        let arguments: Arguments = parse(arguments)?;
        if verb == "listen" {
            return self
                .listen(target(arguments.target.as_deref().unwrap_or("postgres"))?)
                .await;
        }
        let number = arguments.proxy;
        let proxy = self
            .all()
            .get(number)
            .cloned()
            .flatten()
            .ok_or_else(|| Error::new(format!("no proxy {number}")))?;
        let missing = |name: &str| Error::new(format!("proxy.{verb} needs {name}"));
        match verb {
            "cut" => proxy.cut(arguments.cut),
            "cutAfter" => {
                let direction = arguments.direction.ok_or_else(|| missing("direction"))?;
                proxy.cut_after(
                    direction,
                    arguments.bytes.ok_or_else(|| missing("bytes"))?,
                    arguments.cut,
                );
            }
            "stall" => proxy.stall(),
            "resume" => proxy.resume(),
            "delay" => proxy.delay(Duration::from_millis(
                arguments.millis.ok_or_else(|| missing("millis"))?,
            )),
            "refuse" => proxy.refuse().await,
            "accept" => proxy.accept().await?,
            "target" => proxy.set_target(target(&arguments.target.ok_or_else(|| missing("target"))?)?),
            "stats" => return Ok(serde_json::to_value(proxy.stats())?),
            "waitFor" => {
                proxy
                    .wait_for(|stats| {
                        arguments.accepted.is_none_or(|wanted| stats.accepted >= wanted)
                            && arguments.open.is_none_or(|wanted| stats.open == wanted)
                            && arguments.bytes_up.is_none_or(|wanted| stats.bytes_up >= wanted)
                            && arguments.bytes_down.is_none_or(|wanted| stats.bytes_down >= wanted)
                    })
                    .await;
                return Ok(serde_json::to_value(proxy.stats())?);
            }
            "close" => {
                if let Some(place) = self.all().get_mut(number) {
                    *place = None;
                }
            }
            _ => return Err(unknown(&format!("proxy.{verb}"))),
        }
        Ok(Value::Null)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Option<Arc<Proxy>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
