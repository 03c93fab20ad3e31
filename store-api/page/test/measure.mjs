// How long each view takes to open in a browser, and what following it costs: measure.mjs URL STORE LABEL [PID...]
//
// Opening ends when the view's content is there, its plots drawn. The processes' CPU is that of 20 who follow the view.
import { readFile } from 'node:fs/promises';
import { launch } from './server.mjs';

const [url, store, label, ...pids] = process.argv.slice(2);
const TIMES = 5;
const FOLLOWERS = 20;
const FOLLOWED_MS = 10_000;

const wait = (ms) => new Promise((resume) => setTimeout(resume, ms));
const median = (all) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)];

// CPU time of the processes so far in ms; Linux counts in hundredths of a second.
async function cpu() {
  const of = async (pid) => (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1].split(' ').slice(11, 13).reduce((a, b) => a + Number(b), 0);
  return 10 * (await Promise.all(pids.map(of))).reduce((a, b) => a + b, 0);
}

async function open(page, path) {
  const began = performance.now();
  await page.goto(url + path, { waitUntil: 'commit' });
  await page.waitForFunction(() => document.querySelector('main h1') && !document.querySelector('.loading')
    && [...document.querySelectorAll('[data-plot]:not([data-grows])')].every((plot) => plot.querySelector('canvas')));
  return performance.now() - began;
}

// Bytes and events of those who follow a view for a while.
async function follow(path) {
  const stop = new AbortController();
  const seen = { bytes: 0, events: 0 };
  const one = async () => {
    const answer = await fetch(url + path, { headers: { accept: 'text/event-stream' }, signal: stop.signal });
    for await (const part of answer.body) {
      seen.bytes += part.length;
      seen.events += Buffer.from(part).toString().split('event: view').length - 1;
    }
  };
  const all = Array.from({ length: FOLLOWERS }, () => one().catch(() => {}));
  await wait(2_000);
  const [before, began] = [await cpu(), performance.now()];
  await wait(FOLLOWED_MS);
  const share = (await cpu() - before) / (performance.now() - began);
  stop.abort();
  await Promise.all(all);
  return { ...seen, share };
}

const views = {
  stores: '/', store: `/stores/${store}`, 'out of date': `/stores/${store}/out-of-date`, batches: `/stores/${store}/batches`,
  gateways: `/stores/${store}/gateways`, label: `/labels/${label}`, products: `/stores/${store}/products`,
  'search that finds nothing': `/stores/${store}/products?q=zzzzzz`, actions: `/stores/${store}/actions`,
};
const batch = process.env.BATCH;
if (batch) views.batch = `/stores/${store}/batches/${batch}`;
const browser = await launch();
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  await open(page, '/login');
  // What is kept of the store is forgotten again.
  await wait(20_000);
  console.log('| view | first ms | again ms | events per follower and s | kB per event | CPU of 20 followers |\n|---|--:|--:|--:|--:|--:|');
  for (const [name, path] of Object.entries(views)) {
    const first = await open(page, path);
    const isLive = await page.locator('[sse-connect]').count() > 0;
    const again = [];
    for (let at = 0; at < TIMES; at += 1) again.push(await open(page, path));
    await page.goto('about:blank');
    if (!isLive) {
      console.log(`| ${name} | ${first.toFixed(0)} | ${median(again).toFixed(0)} | – | – | – |`);
      continue;
    }
    const { bytes, events, share } = await follow(path);
    const rate = events / FOLLOWERS / ((FOLLOWED_MS + 2_000) / 1_000);
    console.log(`| ${name} | ${first.toFixed(0)} | ${median(again).toFixed(0)} | ${rate.toFixed(2)} | ${(bytes / 1024 / (events || 1)).toFixed(1)} | ${pids.length ? `${(100 * share).toFixed(1)} %` : '–'} |`);
  }
} finally {
  await browser.close();
}
