// Every view in a browser, in both languages and colours, open to everybody and to nobody without a token: views.mjs STANDALONE
import assert from 'node:assert/strict';
import { check } from './browser.mjs';
import { BATTERY, LONG_NAME, logIn, mac, SCRIPT_NAME, STORE, TOKENS } from './server.mjs';

// What is done, in this order; each begins where it likes, with the same page.
const steps = (session) => ({
  async 'only those with a token come in'() {
    const page = await session.open();
    await page.goto(`${session.server.url}/stores/${STORE}`);
    assert.match(page.url(), /\/login\?to=/);
    await session.accessible(page, 'the login');
    await page.fill('#token', 'a-token-that-nobody-has');
    await page.click('main button');
    await page.waitForSelector('#wrong');
    await session.accessible(page, 'the login that failed');
    await page.fill('#token', TOKENS.ana);
    await page.click('main button');
    await page.waitForURL(`${session.server.url}/stores/${STORE}`);
    const cookies = await page.context().cookies();
    const kept = cookies.find((cookie) => cookie.name === 'esl_session');
    assert.ok(kept.httpOnly && kept.sameSite === 'Strict');
    const other = await session.open();
    await logIn(other, session.server.url, TOKENS.beto);
    const refused = await other.goto(`${session.server.url}/stores/${STORE}`);
    assert.equal(refused.status(), 403);
    assert.equal((await other.goto(`${session.server.url}/labels/${mac(1)}`)).status(), 403);
    await page.click('text=Log out');
    await page.waitForURL(/login/);
    await page.context().close();
    await other.context().close();
  },

  async 'a form of another site is refused'() {
    const headers = { cookie: `esl_session=${TOKENS.ana}`, 'content-type': 'application/x-www-form-urlencoded' };
    const post = (more, body) => fetch(`${session.server.url}/labels/${mac(1)}`,
      { method: 'POST', redirect: 'manual', headers: { ...headers, ...more }, body });
    assert.equal((await post({ origin: 'http://evil.example' }, 'what=blink')).status, 403);
    assert.equal((await post({ 'sec-fetch-site': 'cross-site' }, 'what=blink')).status, 403);
    assert.equal((await post({}, 'what=blink&key=guessed')).status, 403);
    const answer = await fetch(`${session.server.url}/login`);
    assert.match(answer.headers.get('content-security-policy'), /default-src 'none'; script-src 'self'; style-src 'self'/);
    const script = (await answer.text()).match(/\/assets\/[^"]*page\.js/)[0];
    const asset = await fetch(session.server.url + script);
    assert.match(asset.headers.get('cache-control'), /immutable/);
    const again = await fetch(session.server.url + script, { headers: { 'if-none-match': asset.headers.get('etag') } });
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
      const page = await session.open({ locale, colorScheme, viewport: { width: which === 1 ? 1280 : 390, height: 800 } });
      await logIn(page, session.server.url);
      for (const [name, view] of Object.entries(views)) {
        await page.goto(session.server.url + view[0]);
        await page.waitForFunction((text) => document.querySelector('h1')?.textContent.trim() === text, view[which]);
        assert.equal(await page.getAttribute('html', 'lang'), locale === 'en-GB' ? 'en' : 'pt-BR');
        await session.accessible(page, `${name}, ${locale}, ${colorScheme}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
      }
      await page.context().close();
    }
  },

  async 'a name is only a name'(page) {
    await page.goto(`${session.server.url}/stores/${STORE}/products/7891001000001`);
    assert.equal((await page.textContent('h1')).trim(), SCRIPT_NAME);
    await page.goto(`${session.server.url}/labels/${mac(2)}`);
    assert.equal((await page.textContent('.epaper .name')).trim(), SCRIPT_NAME);
    assert.equal(await page.evaluate(() => window.broken), undefined);
  },

  async 'numbers, times and prices are as in the country'(page) {
    await page.goto(`${session.server.url}/labels/${mac(3)}`);
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

  async 'an address that there is not is answered as a browser reads it'(page) {
    const answer = await page.goto(`${session.server.url}/no/such/page`);
    assert.equal(answer.status(), 404);
    await page.waitForSelector('h1 >> text=There is nothing here');
    assert.match(await page.textContent('main'), /no page has the address \/no\/such\/page/);
    await session.accessible(page, 'a page that there is not');
    const json = await fetch(`${session.server.url}/no/such/page`, { headers: { authorization: `Bearer ${TOKENS.ana}` } });
    assert.equal(json.headers.get('content-type'), 'application/problem+json');
  },

  async 'it is usable by keyboard'(page) {
    await page.goto(`${session.server.url}/stores/${STORE}`);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  },
});

await check(steps, async (server, skus) => {
  await server.tell('PUT', `/labels/${BATTERY}/faults`, { nack: 'insufficient_battery' });
  await server.change('promo', 10, { skus: skus.slice(0, 20), names: [LONG_NAME, SCRIPT_NAME] });
  await server.deadLetter();
  await server.done('promo');
});
