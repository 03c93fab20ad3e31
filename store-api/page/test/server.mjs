// A store to look at: `standalone` with emulated gateways and labels, some of them in trouble.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(join(process.env.PACKAGES, 'here.js'));
export const { chromium } = require('playwright-core');
export const axeSource = require('axe-core').source;

export const STORE = 'sp-014';
export const OTHER_STORE = 'sp-099';
export const TOKENS = { ana: 'token-of-ana-for-every-store', beto: 'token-of-beto-for-another' };
export const LONG_NAME = 'Furadeira de impacto profissional com maleta e 40 acessórios '.repeat(4).slice(0, 200);
export const SCRIPT_NAME = '<script>window.broken = true</script><img src=x onerror="window.broken = true">';
// Waits end here: a machine may be slow.
export const LIMIT = 150_000;
export const BATTERY = mac(11);
export const CARRIED_AWAY = mac(12);

export function mac(number) {
  return `001a2b${number.toString(16).padStart(6, '0')}`;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

// Waits for a condition; fails with what was waited for.
export async function until(what, condition, limit = LIMIT) {
  const end = Date.now() + limit;
  for (;;) {
    let answer;
    try { answer = await condition(); } catch (error) { answer = undefined; if (Date.now() > end) throw error; }
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`still not after ${limit} ms: ${what}`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

export class Server {
  static async start(binary, { gateways = 6, labels = 240, writeTime = '20ms', rpcTimeout = '2s' } = {}) {
    const server = new Server();
    server.folder = await mkdtemp(join(tmpdir(), 'esl-page-'));
    const tokens = join(server.folder, 'tokens');
    await writeFile(tokens, `ana ${TOKENS.ana} *\nbeto ${TOKENS.beto} ${OTHER_STORE}\n`);
    const [api, admin, mqtt] = [await freePort(), await freePort(), await freePort()];
    server.url = `http://127.0.0.1:${api}`;
    server.admin = `http://127.0.0.1:${admin}`;
    server.command = [binary, ['--data', join(server.folder, 'data'), '--mqtt-listen', `127.0.0.1:${mqtt}`,
      '--api-addr', `127.0.0.1:${api}`, '--tokens', tokens, '--emulate', `${gateways}x${labels}`, '--rpc-timeout', rpcTimeout,
      '--', '--write-time', writeTime, '--report-interval', '500ms']];
    server.env = { ...process.env, ADMIN_ADDR: `127.0.0.1:${admin}`, RUST_LOG: 'warn' };
    server.labels = labels;
    await server.begin();
    return server;
  }

  // One that somebody else has started, with all its servers.
  static at(url, admin, labels) {
    return Object.assign(new Server(), { url, admin, labels });
  }

  async begin() {
    const [binary, args] = this.command;
    this.process = spawn(binary, args, { env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.log = '';
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on('data', (text) => { this.log = (this.log + text).slice(-20_000); });
    }
    await until('standalone is ready', async () => {
      if (this.process.exitCode !== null) throw new Error(`standalone has ended:\n${this.log}`);
      return (await fetch(`${this.admin}/ready`)).ok;
    });
  }

  async end(signal = 'SIGTERM') {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = once(this.process, 'exit');
    this.process.kill(signal);
    await ended;
  }

  async close() {
    await this.end();
    await rm(this.folder, { recursive: true, force: true });
  }

  async ask(method, path, body, { type = 'application/json', base = this.url, token = TOKENS.ana } = {}) {
    const headers = { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': type }) };
    const text = typeof body === 'string' || body === undefined ? body : JSON.stringify(body);
    const answer = await fetch(base + path, { method, headers, body: text });
    const said = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${said}`);
    return said ? JSON.parse(said) : undefined;
  }

  // What the emulator is told.
  tell(method, path, body) {
    return this.ask(method, path, body, { base: this.admin });
  }

  async change(batch, version, { skus, timeout = 90_000, timeouts = {}, names } = {}) {
    const nth = (sku) => Number(sku.slice(6)) - 1000000;
    const tasks = skus.map((sku, at) => ({
      sku, version, timeout_ms: timeouts[sku] ?? timeout,
      fields: { name: names?.[at] ?? product(nth(sku)), price: price(nth(sku), version), currency: 'BRL' },
    }));
    return this.ask('POST', `/v1/stores/${STORE}/tasks`, { batch, tasks });
  }

  // Pauses, resumes or cancels a batch by the API.
  hold(batch, state) {
    return this.ask('PUT', `/v1/stores/${STORE}/batches/${encodeURIComponent(batch)}/state`, { state });
  }

  async done(batch) {
    await until(`batch ${batch} is done`, async () =>
      (await this.ask('GET', `/v1/batches/${encodeURIComponent(batch)}`)).complete);
  }

  // Three labels a product; one label's battery is empty, and one was carried away.
  async furnish() {
    const count = Math.floor(this.labels / 3);
    const skus = Array.from({ length: count }, (_, at) => `789100${String(1000000 + at)}`);
    const bindings = Array.from({ length: count * 3 }, (_, at) => ({ label: mac(at + 1), sku: skus[at % count] }));
    await this.ask('PUT', `/v1/stores/${STORE}/bindings`, bindings);
    await until('every label is heard', async () => (await this.ask('GET', `/v1/labels/${mac(this.labels - 3)}`)).routes?.length);
    await this.change('week-47', 1, { skus, names: skus.map((_, at) => [LONG_NAME, SCRIPT_NAME][at] ?? product(at)) });
    await this.done('week-47');
    return skus;
  }

  async trouble() {
    await this.tell('PUT', `/labels/${BATTERY}/faults`, { nack: 'insufficient_battery' });
    await this.tell('PUT', `/labels/${CARRIED_AWAY}/faults`, { silent: true });
  }

  // A task that no worker can use: more labels are bound to its product than a task may have.
  async deadLetter(count = 2) {
    const bindings = Array.from({ length: 10_001 }, (_, at) => ({ label: mac(0x800000 + at), sku: 'all-of-them' }));
    await this.ask('PUT', `/v1/stores/${OTHER_STORE}/bindings`, bindings);
    for (let at = 0; at < count; at += 1) {
      await this.ask('POST', `/v1/stores/${OTHER_STORE}/tasks`,
        { sku: 'all-of-them', version: at + 1, fields: { name: 'Everything', price: '1.00', currency: 'BRL' } });
    }
    await until('dead letters', async () => (await this.ask('GET', '/v1/dead-letters')).total >= count);
  }
}

const THINGS = ['Furadeira 650W', 'Parafusadeira 12V', 'Serra tico-tico', 'Trena 5 m', 'Lixadeira orbital', 'Martelo 27 mm',
  'Chave de fenda', 'Broca 8 mm', 'Nível a laser', 'Alicate universal', 'Escada 6 degraus', 'Tinta acrílica 18 L'];

function product(at) {
  return `${THINGS[at % THINGS.length]} ${String.fromCharCode(65 + (at % 26))}${at}`;
}

function price(at, version) {
  return `${(at * 37) % 900 + 9}.${(version * 10) % 100 || 90}`;
}

export async function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
}

export async function logIn(page, url, token = TOKENS.ana) {
  await page.goto(url);
  await page.fill('#token', token);
  await page.click('main button');
  await page.waitForURL((there) => there.pathname !== '/login');
}
