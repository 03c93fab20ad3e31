// Everything that an operator can do in a browser, of a store in trouble: actions.mjs STANDALONE
import assert from 'node:assert/strict';
import { check } from './browser.mjs';
import { BATTERY, CARRIED_AWAY, mac, STORE, until } from './server.mjs';

// What is done, in this order; each begins where it likes, with the same page.
const steps = (session) => ({
  async 'the store says why labels are out of date, and leads to them'(page) {
    await page.goto(`${session.server.url}/stores/${STORE}`);
    await page.click('text=Its battery is empty');
    await page.click(`text=${BATTERY}`);
    await page.waitForSelector('text=insufficient_battery');
    assert.match(await page.textContent('.verdict'), /It shows an old version.*Its battery is empty \(insufficient_battery\)/s);
  },

  async 'blink and ping report what came back'(page) {
    await page.goto(`${session.server.url}/labels/${mac(5)}`);
    for (const name of ['Blink', 'Ping', 'Send again']) {
      await page.click(`.buttons >> text=${name}`);
      await page.waitForSelector('.notice.good');
      assert.match(await page.textContent('.notice'), new RegExp(`^${name}: the label answered through 00fa7e`));
    }
    await page.goto(`${session.server.url}/labels/${BATTERY}`);
    await page.click('.buttons >> text=Ping');
    await page.waitForSelector('.notice.bad');
    assert.match(await page.textContent('.notice'), /refused: insufficient_battery/);
  },

  async 'products are found, bound and unbound'(page) {
    await page.goto(`${session.server.url}/stores/${STORE}/products`);
    await page.type('#q', 'serra');
    await page.waitForFunction(() => /q=serra/.test(location.search));
    await until('only saws', () => page.evaluate(() =>
      [...document.querySelectorAll('#found tbody td:nth-child(2)')].every((cell) => /Serra/.test(cell.textContent))));
    await page.fill('#q', 'no such thing');
    await page.waitForSelector('text=Nothing is found.');
    await page.fill('#find', mac(7));
    await page.press('#find', 'Enter');
    await page.waitForURL(`${session.server.url}/labels/${mac(7)}`);
    await page.goto(`${session.server.url}/stores/${STORE}/products/new%2Fthing`);
    await page.fill('#labels', `${mac(7)}\n00:1A:2B:00:00:08`);
    await page.click('main .primary');
    await page.waitForSelector('text=2 labels are bound now.');
    await page.click(`[aria-label="Unbind ${mac(7)}"]`);
    await page.waitForSelector('text=1 label was unbound.');
    await page.click('text=Unbind all…');
    await page.waitForSelector('text=Unbind 1 label?');
    await session.accessible(page, 'a question');
    await page.click('.confirm .primary');
    await page.waitForSelector('text=It has none.');
  },

  async 'a batch says what failed, and sends it again'(page) {
    await page.goto(`${session.server.url}/stores/${STORE}/batches/promo`);
    await page.waitForSelector(`text=${CARRIED_AWAY}`);
    assert.match(await page.textContent('main'), /no answer from the gateway/);
    await session.server.tell('PUT', `/labels/${BATTERY}/faults`, {});
    await session.server.tell('PUT', `/labels/${CARRIED_AWAY}/faults`, {});
    await page.click('text=/Send again to 2 labels/');
    await page.waitForSelector('text=Send again to 2 labels?');
    await page.click('.confirm .primary');
    await page.waitForURL(/promo-again-/);
    await page.waitForFunction(() => document.querySelector('.sentence').textContent === 'Done');
    await page.goto(`${session.server.url}/labels/${CARRIED_AWAY}`);
    await page.waitForSelector('text=It shows what it should.');
  },

  // What waits while its batch is paused is looked at again after as long as it has been paused, at most 64 s: not much is
  // done meanwhile.
  async 'a batch is paused and goes on where it was'(page, skus) {
    await session.server.tell('PUT', `/labels/${mac(9)}/faults`, { silent: true });
    await session.server.change('held', 100, { skus: [skus[8], skus[46]] });
    await page.goto(`${session.server.url}/stores/${STORE}/batches/held`);
    await page.click('.buttons >> text=Pause');
    await page.waitForSelector('text=/Paused by ana/');
    await page.waitForFunction(() => /^Paused; \d to go$/.test(document.querySelector('.sentence').textContent));
    await page.goto(`${session.server.url}/stores/${STORE}/batches`);
    assert.match(await page.textContent('tr:has-text("held")'), /Paused; \d to go/);
    await session.server.tell('PUT', `/labels/${mac(9)}/faults`, {});
    await page.goto(`${session.server.url}/stores/${STORE}/batches/held`);
    await page.click('.buttons >> text=Resume');
    await page.waitForFunction(() => document.querySelector('.sentence').textContent === 'Done');
    assert.equal(await page.locator('.buttons').count(), 0, 'nothing is left to pause or to cancel');
  },

  async 'a batch is cancelled, and its labels say so'(page, skus) {
    await session.server.hold('given-up', 'paused');
    await session.server.change('given-up', 110, { skus: skus.slice(50, 60) });
    const view = `${session.server.url}/stores/${STORE}/batches/given-up`;
    await page.goto(view);
    await page.click('text=/Cancel what is left/');
    await page.waitForSelector('text=Cancel what is not yet done: 30 labels?');
    await session.accessible(page, 'a question about a batch');
    await page.click('.confirm >> text=Don\'t');
    await page.waitForSelector('text=/Paused by ana/');
    await session.accessible(page, 'a batch that is paused');
    await page.click('footer >> text=Português');
    await page.click('text=/Cancelar o que resta/');
    await page.waitForSelector('text=Cancelar o que falta: 30 etiquetas?');
    await page.click('footer >> text=English');
    await page.goto(`${view}?confirm=cancel`);
    await page.click('.confirm .primary');
    await page.waitForSelector('text=/Cancelled by ana/');
    const cancelled = () => document.querySelector('.sentence').textContent === 'Cancelled; done; not shown: 30';
    await page.waitForFunction(cancelled);
    assert.match(await page.textContent('tr:has(.outcome.rejected)'), /30/);
    await session.accessible(page, 'a batch that is cancelled');
    await assert.rejects(session.server.hold('given-up', 'running'), /409.*was cancelled by ana/);
    await page.goto(`${session.server.url}/stores/${STORE}`);
    await page.click('text=Its batch was cancelled');
    await page.waitForSelector(`text=${mac(51)}`);
    await session.server.change('instead', 120, { skus: skus.slice(50, 60) });
    await session.server.done('instead');
  },

  async 'dead letters are sent again, one or all'(page) {
    await page.goto(`${session.server.url}/dead-letters`);
    assert.match(await page.textContent('.reason'), /10001 labels are bound to it/);
    await page.click('.letters button');
    await page.waitForSelector('text=1 task was sent again.');
    await until('it is dead again', async () => (await session.server.ask('GET', '/v1/dead-letters')).total === 2);
    await page.click('text=Look again');
    await page.click('text=/Send all again: 2/');
    await page.waitForSelector('text=Send again all 2?');
    await page.click('.confirm .primary');
    await page.waitForSelector('text=2 tasks were sent again.');
  },

  async 'everything that was done is written down with who did it'(page) {
    await page.goto(`${session.server.url}/stores/${STORE}/actions`);
    await page.waitForSelector('tbody tr');
    const rows = await page.locator('tbody tr').allTextContents();
    for (const what of ['let it blink', 'pinged', 'sent again', 'bound', 'unbound', 'sent failures again', 'replayed dead letters',
      'paused', 'resumed', 'cancelled']) {
      assert.ok(rows.some((row) => row.includes(what) && row.includes('ana')), `${what} in ${rows.join('\n')}`);
    }
  },
});

await check(steps, async (server, skus) => {
  await server.trouble();
  await server.change('promo', 10, { skus: skus.slice(0, 20), timeouts: { [skus[11]]: 10_000 } });
  await server.deadLetter();
  await server.done('promo');
});
