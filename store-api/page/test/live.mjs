// What happens is seen in a browser without asking, whatever fails: live.mjs STANDALONE
import assert from 'node:assert/strict';
import { check } from './browser.mjs';
import { BATTERY, mac, STORE, until } from './server.mjs';

// How many labels were shown in a day has changed.
const isOther = (before) => {
  const shown = document.querySelector('.balance .number');
  return shown && shown.textContent !== before;
};

// What is done, in this order; each begins where it likes, with the same page.
const steps = (session) => ({
  async 'what happens is seen without asking'(page, skus) {
    await page.goto(`${session.server.url}/stores/${STORE}/batches`);
    await page.focus('main a');
    await session.server.change('live', 50, { skus: skus.slice(20, 40) });
    await page.waitForSelector('main >> text=live');
    await page.click('main >> text=live');
    await page.waitForFunction(() => document.querySelector('.sentence').textContent === 'Done');
    await page.goto(`${session.server.url}/stores/${STORE}`);
    await page.waitForSelector('#rate canvas');
    const before = await page.textContent('.balance .number');
    await page.focus('text=All gateways');
    await session.server.change('live-2', 60, { skus: skus.slice(20, 25) });
    await page.waitForFunction(isOther, before);
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'All gateways', 'the focus stays');
    assert.equal(await page.locator('#rate canvas').count(), 1, 'the plot stays');
  },

  async 'a label says who has heard it how strongly, and its battery'(page) {
    await page.goto(`${session.server.url}/labels/${mac(5)}`);
    await page.waitForSelector('#signal-day canvas');
    await page.waitForSelector('#rssi canvas');
    assert.match(await page.textContent('.tiles'), /Battery\s*\d\.\d\d V/);
  },

  async 'a gateway that fails is said to be left alone'(page, skus) {
    await session.server.tell('POST', '/gateways/00fa7e000003/hang');
    await session.server.change('hung', 130, { skus: skus.slice(36, 78) });
    await page.goto(`${session.server.url}/stores/${STORE}/gateways`);
    const row = page.locator('tr:has-text("00fa7e000003")');
    await row.locator('text=failing').waitFor();
    await session.accessible(page, 'gateways of which one fails');
    assert.match(await row.textContent(), /\d+ \/ \d+/, 'its window');
    await page.click('text=00fa7e000003');
    await page.waitForSelector('h1 >> text=00fa7e000003');
    await page.waitForSelector('main >> text=failing');
    assert.match(await page.textContent('.tiles'), /In flight \/ window\s*\d+ \/ \d+/);
    await session.server.tell('POST', '/gateways/00fa7e000003/resume');
  },

  async 'a gateway says how it answers'(page) {
    const silent = '.balance tr:has-text("no answer in time") .number';
    // Workers write every few seconds what they have counted.
    await until('what it did not answer is counted as its own', async () => {
      await page.goto(`${session.server.url}/stores/${STORE}/gateways/00fa7e000003`);
      const counted = await page.locator(silent).allTextContents();
      return counted.some((count) => Number(count.replaceAll(',', '')) >= 5);
    });
    assert.match(await page.textContent('.balance'), /done\s*[\d,]+/);
    assert.match(await page.textContent('.tiles'), /p99\s*\d/);
    assert.match(await page.textContent('.histogram'), /How long answers took/);
    await session.accessible(page, 'a gateway');
    await page.goto(`${session.server.url}/stores/${STORE}/gateways`);
    await page.waitForSelector('tr:has-text("00fa7e000003")');
    const cells = await page.locator('tr:has-text("00fa7e000003") td').allTextContents();
    const heads = await page.locator('thead th').allTextContents();
    const cell = (head) => cells[heads.indexOf(head) - 1];
    assert.ok(Number(cell('Done').replaceAll(',', '')) > 0 && Number(cell('No answer').replaceAll(',', '')) >= 5, cells.join('|'));
    assert.match(cell('p50'), /\d/);
    assert.match(await page.textContent('main'), /insufficient_battery|Refused/);
  },

  async 'it says that the server is gone, and goes on when it is back'(page, skus) {
    await page.goto(`${session.server.url}/stores/${STORE}`);
    await page.waitForSelector('html[data-connection="up"]');
    await session.server.end('SIGKILL');
    await page.waitForSelector('#disconnected:not([hidden])');
    await session.accessible(page, 'a page without a server');
    await session.server.begin();
    await page.waitForSelector('#disconnected', { state: 'hidden' });
    const before = await page.textContent('.balance .number');
    await until('every label is heard again', async () => (await session.server.ask('GET', `/v1/labels/${mac(100)}`)).routes?.length);
    await session.server.change('after', 70, { skus: skus.slice(30, 36) });
    await page.waitForFunction(isOther, before);
  },
});

await check(steps, async (server, skus) => {
  await server.tell('PUT', `/labels/${BATTERY}/faults`, { nack: 'insufficient_battery' });
  await server.change('promo', 10, { skus: skus.slice(0, 20) });
  await server.done('promo');
});
