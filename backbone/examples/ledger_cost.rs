#![allow(missing_docs, clippy::unwrap_used)]
use backbone::ledger::*; use protocol::*; use std::{sync::Arc, time::*};
fn cpu(pid: &str) -> f64 { let s = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) * 1e4 }
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let ledger = Ledger::connect(&a[1].parse().unwrap()).await.unwrap(); ledger.prepare().await.unwrap();
    let fields: Arc<Fields> = Arc::new(serde_json::from_str(r#"{"name":"Furadeira 650W","price":"299.90","currency":"BRL"}"#).unwrap());
    let label = |n: u32| { let b = n.to_be_bytes(); LabelMac::from_octets([0, 26, b[0], b[1], b[2], b[3]]) };
    let store: Store = "sp-014".parse().unwrap();
    let b: Vec<_> = (0..20_000).map(|n| Binding { label: label(n), sku: format!("sku-{}", n / 2).parse().unwrap(), store: store.clone() }).collect();
    ledger.bind(&b).await.unwrap();
    let mut v = now();
    fn now() -> u64 { backbone::service::now().unix_millis() as u64 }
    for _ in 0..2 { for batch in [1u32, 50, 500] {
        let total: u32 = if batch == 1 { 2_000 } else { 20_000 };
        v += 1; let me = std::process::id().to_string();
        let (mut co, mut cs, mut to, mut ts) = (0., 0., Duration::ZERO, Duration::ZERO);
        let own = cpu(&me);
        for start in (0..total).step_by(batch as usize) {
            let task: TaskId = format!("0198c0de-{v}-{start}").parse().unwrap();
            let o: Vec<_> = (start..start + batch).map(|n| Opening { label: label(n), task_id: task.clone(), store: store.clone(), what: What::Desire { version: Version::try_from(v).unwrap(), fields: fields.clone() } }).collect();
            let s: Vec<_> = (start..start + batch).map(|n| Settlement { shown: Some(fields.clone()), result: ResultMessage { task_id: task.clone(), store: store.clone(), sku: None, label: label(n), version: Some(Version::try_from(v).unwrap()), outcome: Outcome::Shown, reason: None, gateway: Some("00fa7e000001".parse().unwrap()), attempts: 1, latency_ms: 12, at: backbone::service::now(), batch: Some("promo-2026-11".parse().unwrap()) } }).collect();
            let (c, t) = (cpu(&a[2]), Instant::now()); ledger.open(&o).await.unwrap(); let (c2, t2) = (cpu(&a[2]), Instant::now()); ledger.settle(&s).await.unwrap();
            co += c2 - c; to += t2 - t; cs += cpu(&a[2]) - c2; ts += t2.elapsed();
        }
        let n = f64::from(total); let k = f64::from(total / batch);
        println!("batch {batch:4}: mongod CPU us/label open {:.0} settle {:.0}; ms/batch open {:.2} settle {:.2}; own CPU us/label {:.0}", co / n, cs / n, to.as_secs_f64() * 1e3 / k, ts.as_secs_f64() * 1e3 / k, (cpu(&me) - own) / n);
    } }
}
