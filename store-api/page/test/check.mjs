// Every view and every action in a browser, against a store in trouble: check.mjs STANDALONE
import assert from 'node:assert/strict';
import { axeSource, BATTERY, CARRIED_AWAY, launch, logIn, LONG_NAME, mac, OTHER_STORE, SCRIPT_NAME, Server, STORE, TOKENS, until }
  from './server.mjs';

const LIMIT = 60_000;
// What waits while its batch is paused is looked at again after as long as it has been paused, at most 64 s.
const HELD_LIMIT = 120_000;
const server = await Server.start(process.argv[2]);
const browser = await launch();
const complaints = [];

async function open(options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  watch(page);
  return page;
}

// Whatever the browser complains about is a failure: a blocked script, a request to elsewhere, a dialog.
function watch(page) {
  page.on('console', (message) => {
    const expected = /status of (401|403|404|503)|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|sseError|ERR_CONNECTION_RESET|\[object Event\]/;
    if (message.type() === 'error' && !expected.test(message.text() + message.location().url)) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', (dialog) => { complaints.push(dialog.message()); dialog.dismiss(); });
  page.on('request', (request) => { if (!request.url().startsWith(server.url)) complaints.push(request.url()); });
}

async function accessible(page, what) {
  // The extension's own page, not the document, runs it: the policy holds for scripts of the document.
  const found = await page.evaluate(`(() => { ${axeSource}; return axe.run(document,
    { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }); })()`);
  const said = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
  assert.deepEqual(said, [], `axe-core on ${what}`);
}

const steps = {
  async 'only those with a token come in'() {
    const page = await open();
    await page.goto(`${server.url}/stores/${STORE}`);
    assert.match(page.url(), /\/login\?to=/);
    await accessible(page, 'the login');
    await page.fill('#token', 'a-token-that-nobody-has');
    await page.click('main button');
    await page.waitForSelector('#wrong');
    await accessible(page, 'the login that failed');
    await page.fill('#token', TOKENS.ana);
    await page.click('main button');
    await page.waitForURL(`${server.url}/stores/${STORE}`);
    const cookies = await page.context().cookies();
    const session = cookies.find((cookie) => cookie.name === 'esl_session');
    assert.ok(session.httpOnly && session.sameSite === 'Strict');
    const other = await open();
    await logIn(other, server.url, TOKENS.beto);
    const refused = await other.goto(`${server.url}/stores/${STORE}`);
    assert.equal(refused.status(), 403);
    assert.equal((await other.goto(`${server.url}/labels/${mac(1)}`)).status(), 403);
    await page.click('text=Log out');
    await page.waitForURL(/login/);
    await page.context().close();
    await other.context().close();
  },

  async 'a form of another site is refused'() {
    const headers = { cookie: `esl_session=${TOKENS.ana}`, 'content-type': 'application/x-www-form-urlencoded' };
    const post = (more, body) => fetch(`${server.url}/labels/${mac(1)}`,
      { method: 'POST', redirect: 'manual', headers: { ...headers, ...more }, body });
    assert.equal((await post({ origin: 'http://evil.example' }, 'what=blink')).status, 403);
    assert.equal((await post({ 'sec-fetch-site': 'cross-site' }, 'what=blink')).status, 403);
    assert.equal((await post({}, 'what=blink&key=guessed')).status, 403);
    const answer = await fetch(`${server.url}/login`);
    assert.match(answer.headers.get('content-security-policy'), /default-src 'none'; script-src 'self'; style-src 'self'/);
    const script = (await answer.text()).match(/\/assets\/[^"]*page\.js/)[0];
    const asset = await fetch(server.url + script);
    assert.match(asset.headers.get('cache-control'), /immutable/);
    const again = await fetch(server.url + script, { headers: { 'if-none-match': asset.headers.get('etag') } });
    assert.equal(again.status, 304);
  },

  async 'each view is there, in both colours and languages, and accessible'() {
    const views = {
      stores: ['/', 'Stores', 'Lojas'],
      store: [`/stores/${STORE}`, `Store ${STORE}`, `Loja ${STORE}`],
      'out of date': [`/stores/${STORE}/out-of-date?cause=battery`, 'Its battery is empty', 'A bateria está vazia'],
      batches: [`/stores/${STORE}/batches`, 'Batches', 'Lotes'],
      batch: [`/stores/${STORE}/batches/promo`, 'Batch promo', 'Lote promo'],
      gateways: [`/stores/${STORE}/gateways`, 'Gateways', 'Gateways'],
      gateway: [`/stores/${STORE}/gateways/00fa7e000001`, 'Gateway 00fa7e000001', 'Gateway 00fa7e000001'],
      label: [`/labels/${BATTERY}`, `Label ${BATTERY}`, `Etiqueta ${BATTERY}`],
      products: [`/stores/${STORE}/products`, 'Products', 'Produtos'],
      product: [`/stores/${STORE}/products/7891001000000`, LONG_NAME.trim(), LONG_NAME.trim()],
      'dead letters': [`/dead-letters?store=${STORE}`, 'Dead letters', 'Tarefas mortas'],
      'replay of all': ['/dead-letters?confirm=true', 'Dead letters', 'Tarefas mortas'],
      actions: [`/stores/${STORE}/actions`, 'Actions', 'Ações'],
      nothing: ['/labels/ffffffffffff', 'There is nothing here', 'Não há nada aqui'],
      'an empty store': ['/stores/empty', 'Store empty', 'Loja empty'],
      'no such page': ['/no/such/page', 'There is nothing here', 'Não há nada aqui'],
    };
    for (const [locale, colorScheme, which] of [['en-GB', 'light', 1], ['pt-BR', 'dark', 2]]) {
      const page = await open({ locale, colorScheme, viewport: { width: which === 1 ? 1280 : 390, height: 800 } });
      await logIn(page, server.url);
      for (const [name, view] of Object.entries(views)) {
        const began = Date.now();
        await page.goto(server.url + view[0]);
        await page.waitForFunction((text) => document.querySelector('h1')?.textContent.trim() === text, view[which]);
        const took = Date.now() - began;
        assert.ok(took < 15_000, `${name} took ${took} ms`);
        assert.equal(await page.getAttribute('html', 'lang'), locale === 'en-GB' ? 'en' : 'pt-BR');
        await accessible(page, `${name}, ${locale}, ${colorScheme}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
      }
      await page.context().close();
    }
  },

  async 'a name is only a name'(page) {
    await page.goto(`${server.url}/stores/${STORE}/products/7891001000001`);
    assert.equal((await page.textContent('h1')).trim(), SCRIPT_NAME);
    await page.goto(`${server.url}/labels/${mac(2)}`);
    assert.equal((await page.textContent('.epaper .name')).trim(), SCRIPT_NAME);
    assert.equal(await page.evaluate(() => window.broken), undefined);
  },

  async 'numbers, times and prices are as in the country'(page) {
    await page.goto(`${server.url}/labels/${mac(3)}`);
    const price = await page.textContent('.epaper .price');
    assert.match(price, /^R\$\s[\d,]+\.\d\d$/);
    await page.click('footer >> text=Português');
    await page.waitForSelector('html[lang="pt-BR"]');
    assert.equal(await page.textContent('.epaper .price'), price.replaceAll(',', '').replace('.', ','));
    assert.match(await page.textContent('.history time'), /^\d\d\/\d\d\/\d{4}, \d\d:\d\d:\d\d$/);
    await page.click('footer >> text=Escuro');
    await page.waitForSelector('html[data-theme="dark"]');
    await page.click('footer >> text=English');
    await page.waitForSelector('html[lang="en"]');
    assert.equal(await page.getAttribute('html', 'data-theme'), 'dark');
  },

  async 'the store says why labels are out of date, and leads to them'(page) {
    await page.goto(`${server.url}/stores/${STORE}`);
    await page.click('text=Its battery is empty');
    await page.click(`text=${BATTERY}`);
    await page.waitForSelector('text=insufficient_battery');
    assert.match(await page.textContent('.verdict'), /It shows an old version/);
  },

  async 'what happens is seen without asking'(page, skus) {
    await page.goto(`${server.url}/stores/${STORE}/batches`);
    await page.focus('main a');
    await server.change('live', 50, { skus: skus.slice(20, 40) });
    await page.waitForSelector('main >> text=live');
    await page.click('main >> text=live');
    await page.waitForFunction(() => document.querySelector('.sentence').textContent === 'Done');
    await page.goto(`${server.url}/stores/${STORE}`);
    await page.waitForSelector('#rate canvas');
    const shown = () => page.evaluate(() => document.querySelector('.balance .number').textContent);
    const before = await shown();
    await page.focus('text=All gateways');
    await server.change('live-2', 60, { skus: skus.slice(20, 25) });
    await page.waitForFunction((before) => document.querySelector('.balance .number').textContent !== before, before);
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'All gateways', 'the focus stays');
    assert.equal(await page.locator('#rate canvas').count(), 1, 'the plot stays');
  },

  async 'blink and ping report what came back'(page) {
    await page.goto(`${server.url}/labels/${mac(5)}`);
    for (const name of ['Blink', 'Ping', 'Send again']) {
      await page.click(`.buttons >> text=${name}`);
      await page.waitForSelector('.notice.good');
      assert.match(await page.textContent('.notice'), new RegExp(`^${name}: the label answered through 00fa7e`));
    }
    await page.goto(`${server.url}/labels/${BATTERY}`);
    await page.click('.buttons >> text=Ping');
    await page.waitForSelector('.notice.bad');
    assert.match(await page.textContent('.notice'), /refused: insufficient_battery/);
  },

  async 'products are found, bound and unbound'(page) {
    await page.goto(`${server.url}/stores/${STORE}/products`);
    await page.type('#q', 'serra');
    await page.waitForFunction(() => /q=serra/.test(location.search));
    await until('only saws', () => page.evaluate(() =>
      [...document.querySelectorAll('#found tbody td:nth-child(2)')].every((cell) => /Serra/.test(cell.textContent))));
    await page.fill('#q', 'no such thing');
    await page.waitForSelector('text=Nothing is found.');
    await page.fill('#find', mac(7));
    await page.press('#find', 'Enter');
    await page.waitForURL(`${server.url}/labels/${mac(7)}`);
    await page.goto(`${server.url}/stores/${STORE}/products/new%2Fthing`);
    await page.fill('#labels', `${mac(7)}\n00:1A:2B:00:00:08`);
    await page.click('main .primary');
    await page.waitForSelector('text=2 labels are bound now.');
    await page.click(`[aria-label="Unbind ${mac(7)}"]`);
    await page.waitForSelector('text=1 label was unbound.');
    await page.click('text=Unbind all…');
    await page.waitForSelector('text=Unbind 1 label?');
    await accessible(page, 'a question');
    await page.click('.confirm .primary');
    await page.waitForSelector('text=It has none.');
  },

  async 'a batch says what failed, and sends it again'(page) {
    await page.goto(`${server.url}/stores/${STORE}/batches/promo`);
    await page.waitForSelector(`text=${CARRIED_AWAY}`);
    assert.match(await page.textContent('main'), /no answer from the gateway/);
    await server.tell('PUT', `/labels/${BATTERY}/faults`, {});
    await server.tell('PUT', `/labels/${CARRIED_AWAY}/faults`, {});
    await page.click('text=/Send again to 2 labels/');
    await page.waitForSelector('text=Send again to 2 labels?');
    await page.click('.confirm .primary');
    await page.waitForURL(/promo-again-/);
    await page.waitForFunction(() => document.querySelector('.sentence').textContent === 'Done');
    await page.goto(`${server.url}/labels/${CARRIED_AWAY}`);
    await page.waitForSelector('text=It shows what it should.');
  },

  async 'a batch is paused and goes on where it was'(page, skus) {
    await server.tell('PUT', `/labels/${mac(9)}/faults`, { silent: true });
    await server.change('held', 100, { skus: [skus[8], skus[46]], timeout: 60_000 });
    await page.goto(`${server.url}/stores/${STORE}/batches/held`);
    await page.click('.buttons >> text=Pause');
    await page.waitForSelector('text=/Paused by ana/');
    await page.waitForFunction(() => /^Paused; \d to go$/.test(document.querySelector('.sentence').textContent));
    await accessible(page, 'a batch that is paused');
    await page.goto(`${server.url}/stores/${STORE}/batches`);
    assert.match(await page.textContent('tr:has-text("held")'), /Paused; \d to go/);
    await server.tell('PUT', `/labels/${mac(9)}/faults`, {});
    await page.goto(`${server.url}/stores/${STORE}/batches/held`);
    await page.click('.buttons >> text=Resume');
    await page.waitForFunction(() => document.querySelector('.sentence').textContent === 'Done', null, { timeout: HELD_LIMIT });
    assert.equal(await page.locator('.buttons').count(), 0, 'nothing is left to pause or to cancel');
  },

  async 'a batch is cancelled, and its labels say so'(page, skus) {
    await server.hold('given-up', 'paused');
    await server.change('given-up', 110, { skus: skus.slice(50, 60) });
    const view = `${server.url}/stores/${STORE}/batches/given-up`;
    await page.goto(view);
    await page.click('text=/Cancel what is left/');
    await page.waitForSelector('text=Cancel what is not yet done: 30 labels?');
    await accessible(page, 'a question about a batch');
    await page.click('.confirm >> text=Don\'t');
    await page.waitForSelector('text=/Paused by ana/');
    await page.click('footer >> text=Português');
    await page.click('text=/Cancelar o que resta/');
    await page.waitForSelector('text=Cancelar o que falta: 30 etiquetas?');
    await page.click('footer >> text=English');
    await page.goto(`${view}?confirm=cancel`);
    await page.click('.confirm .primary');
    await page.waitForSelector('text=/Cancelled by ana/');
    const cancelled = () => document.querySelector('.sentence').textContent === 'Cancelled; done; not shown: 30';
    await page.waitForFunction(cancelled, null, { timeout: HELD_LIMIT });
    assert.match(await page.textContent('tr:has(.outcome.rejected)'), /30/);
    await accessible(page, 'a batch that is cancelled');
    await assert.rejects(server.hold('given-up', 'running'), /409.*was cancelled by ana/);
    await page.goto(`${server.url}/stores/${STORE}`);
    await page.click('text=Its batch was cancelled');
    await page.waitForSelector(`text=${mac(51)}`);
    await server.change('instead', 120, { skus: skus.slice(50, 60) });
    await server.done('instead');
  },

  async 'a label says who has heard it how strongly, and its battery'(page) {
    await page.goto(`${server.url}/labels/${mac(5)}`);
    await page.waitForSelector('#signal-day canvas');
    await page.waitForSelector('#rssi canvas');
    assert.match(await page.textContent('.tiles'), /Battery\s*\d\.\d\d V/);
  },

  async 'an address that there is not is answered as a browser reads it'(page) {
    const answer = await page.goto(`${server.url}/no/such/page`);
    assert.equal(answer.status(), 404);
    await page.waitForSelector('h1 >> text=There is nothing here');
    assert.match(await page.textContent('main'), /no page has the address \/no\/such\/page/);
    await accessible(page, 'a page that there is not');
    const json = await fetch(`${server.url}/no/such/page`, { headers: { authorization: `Bearer ${TOKENS.ana}` } });
    assert.equal(json.headers.get('content-type'), 'application/problem+json');
  },

  async 'dead letters are sent again, one or all'(page) {
    await page.goto(`${server.url}/dead-letters`);
    assert.match(await page.textContent('.reason'), /10001 labels are bound to it/);
    await page.click('.letters button');
    await page.waitForSelector('text=1 task was sent again.');
    await until('it is dead again', async () => (await server.ask('GET', '/v1/dead-letters')).total === 2);
    await page.click('text=Look again');
    await page.click('text=/Send all again: 2/');
    await page.waitForSelector('text=Send again all 2?');
    await page.click('.confirm .primary');
    await page.waitForSelector('text=2 tasks were sent again.');
  },

  async 'everything that was done is written down with who did it'(page) {
    await page.goto(`${server.url}/stores/${STORE}/actions`);
    const rows = await page.locator('tbody tr').allTextContents();
    for (const what of ['let it blink', 'pinged', 'sent again', 'bound', 'unbound', 'sent failures again', 'replayed dead letters',
      'paused', 'resumed', 'cancelled']) {
      assert.ok(rows.some((row) => row.includes(what) && row.includes('ana')), `${what} in ${rows.join('\n')}`);
    }
  },

  async 'it is usable by keyboard'(page) {
    await page.goto(`${server.url}/stores/${STORE}`);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  },

  async 'a gateway that fails is said to be left alone'(page, skus) {
    await server.tell('POST', '/gateways/00fa7e000003/hang');
    await server.change('hung', 130, { skus: skus.slice(36, 78), timeout: 60_000 });
    await page.goto(`${server.url}/stores/${STORE}/gateways`);
    const row = page.locator('tr:has-text("00fa7e000003")');
    await row.locator('text=failing').waitFor();
    await accessible(page, 'gateways of which one fails');
    assert.match(await row.textContent(), /\d+ \/ \d+/, 'its window');
    await page.click('text=00fa7e000003');
    await page.waitForSelector('h1 >> text=00fa7e000003');
    await page.waitForSelector('main >> text=failing');
    assert.match(await page.textContent('.tiles'), /In flight \/ window\s*\d+ \/ \d+/);
    await server.tell('POST', '/gateways/00fa7e000003/resume');
    await server.done('hung');
  },

  async 'a gateway says how it answers'(page) {
    const silent = '.balance tr:has-text("no answer in time") .number';
    // Workers write every few seconds what they have counted.
    await until('what it did not answer is counted as its own', async () => {
      await page.goto(`${server.url}/stores/${STORE}/gateways/00fa7e000003`);
      const counted = await page.locator(silent).allTextContents();
      return counted.some((count) => Number(count.replaceAll(',', '')) >= 5);
    });
    assert.match(await page.textContent('.balance'), /done\s*[\d,]+/);
    assert.match(await page.textContent('.tiles'), /p99\s*\d/);
    assert.match(await page.textContent('.histogram'), /How long answers took/);
    await accessible(page, 'a gateway');
    await page.goto(`${server.url}/stores/${STORE}/gateways`);
    const cells = await page.locator('tr:has-text("00fa7e000003") td').allTextContents();
    const heads = await page.locator('thead th').allTextContents();
    const cell = (head) => cells[heads.indexOf(head) - 1];
    assert.ok(Number(cell('Done').replaceAll(',', '')) > 0 && Number(cell('No answer').replaceAll(',', '')) >= 5, cells.join('|'));
    assert.match(cell('p50'), /\d/);
    assert.match(await page.textContent('main'), /insufficient_battery|Refused/);
  },

  async 'it says that the server is gone, and goes on when it is back'(page, skus) {
    await page.goto(`${server.url}/stores/${STORE}`);
    await page.waitForSelector('html[data-connection="up"]');
    await server.end('SIGKILL');
    await page.waitForSelector('#disconnected:not([hidden])');
    await accessible(page, 'a page without a server');
    await server.begin();
    await page.waitForSelector('#disconnected', { state: 'hidden' });
    const before = await page.textContent('.balance .number');
    await until('every label is heard again', async () => (await server.ask('GET', `/v1/labels/${mac(100)}`)).routes?.length);
    await server.change('after', 70, { skus: skus.slice(30, 36) });
    await page.waitForFunction((before) => document.querySelector('.balance .number').textContent !== before, before);
  },
};

try {
  const skus = await server.furnish();
  await server.trouble();
  await server.change('promo', 10, { skus: skus.slice(0, 20), timeout: 2_500, names: skus.map((_, at) => [LONG_NAME, SCRIPT_NAME][at]) });
  await server.deadLetter();
  await server.done('promo');
  const page = await open();
  await logIn(page, server.url);
  for (const [name, step] of Object.entries(steps)) {
    const began = Date.now();
    try {
      await step(page, skus);
      assert.deepEqual(complaints.splice(0), [], 'the browser complains');
    } catch (error) {
      error.message = `${name}: ${error.message}\n${page.url()}\n${(await page.textContent('main').catch(() => '')).slice(0, 1500)}`;
      throw error;
    }
    console.log(`${name}: ${Date.now() - began} ms`);
  }
} catch (error) {
  console.error(error);
  console.error(server.log);
  process.exitCode = 1;
} finally {
  await browser.close();
  await server.close();
}
