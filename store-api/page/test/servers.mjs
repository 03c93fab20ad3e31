// The page of a store-api on real servers, a short form: servers.mjs URL EMULATOR-ADMIN-URL LABELS. The token of ana is in force.
import assert from 'node:assert/strict';
import { accessible } from './browser.mjs';
import { launch, LIMIT, logIn, mac, Server, STORE } from './server.mjs';

const [url, admin, labels] = process.argv.slice(2);
const server = Server.at(url, admin, Number(labels));
const browser = await launch();
const complaints = [];

try {
  const skus = await server.furnish();
  const context = await browser.newContext({ locale: 'pt-BR', viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => { if (!request.url().startsWith(url)) complaints.push(request.url()); });
  await logIn(page, url);
  const heading = (text) => page.waitForFunction((text) => document.querySelector('h1')?.textContent.trim() === text, text);
  const see = async (path, title) => {
    await page.goto(url + path);
    await heading(title);
    await accessible(page, path);
  };

  // There is one store only, so it is shown at once.
  await see('/', `Loja ${STORE}`);
  await see(`/stores/${STORE}`, `Loja ${STORE}`);
  await see(`/stores/${STORE}/products?q=serra`, 'Produtos');
  await see('/dead-letters', 'Tarefas mortas');
  await see(`/stores/${STORE}/gateways`, 'Gateways');
  assert.match(await page.textContent('tr:has-text("00fa7e000001")'), /no ar.*\d+ \/ \d+/s, 'its window is in Redis');

  // A batch is paused before it comes; nothing of it is sent until it goes on, and the open page shows it.
  await server.hold('noite', 'paused');
  await server.change('noite', 10, { skus: skus.slice(0, 10), timeout: 90_000 });
  await see(`/stores/${STORE}/batches/noite`, 'Lote noite');
  await page.waitForSelector('text=/Pausado por ana/');
  await page.click('.buttons >> text=Retomar');
  await page.waitForFunction(() => document.querySelector('.sentence').textContent === 'Concluído');
  await server.hold('manhã', 'paused');
  await server.change('manhã', 20, { skus: skus.slice(0, 10), timeout: 90_000 });
  await see(`/stores/${STORE}/batches/${encodeURIComponent('manhã')}?confirm=cancel`, 'Lote manhã');
  await page.click('.confirm .primary');
  await page.waitForFunction(() => document.querySelector('.sentence').textContent === 'Cancelado; concluído; não mostradas: 30');
  await see(`/stores/${STORE}/out-of-date?cause=cancelled`, 'O lote dela foi cancelado');

  await see(`/labels/${mac(1)}`, `Etiqueta ${mac(1)}`);
  await page.waitForSelector('#signal-day canvas');
  await page.click('.buttons >> text=Piscar');
  await page.waitForSelector('.notice.good');
  await see(`/stores/${STORE}/actions`, 'Ações');
  await page.waitForSelector('tbody tr');
  const rows = (await page.locator('tbody tr').allTextContents()).join('\n');
  for (const what of ['pausou', 'retomou', 'cancelou', 'fez piscar']) assert.ok(rows.includes(what), `${what} in ${rows}`);
  // What workers have counted comes by Redis.
  await page.goto(`${url}/stores/${STORE}/gateways/00fa7e000001`);
  await page.waitForSelector('.balance tr:has-text("feito") .number');
  assert.match(await page.textContent('.tiles'), /p50\s*\d/);
  assert.deepEqual(complaints, []);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
}
