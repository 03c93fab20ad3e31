// A picture of each view at three sizes, light and dark, of a store in trouble: screenshots.mjs STANDALONE FOLDER
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BATTERY, launch, logIn, mac, Server, STORE } from './server.mjs';

const [binary, folder] = process.argv.slice(2);
const HUNG = '00fa7e000003';
const SIZES = { phone: [390, 844], desk: [1280, 800], wall: [1920, 1080] };
// Something for the list of actions.
async function act() {
  const context = await browser.newContext({ locale: 'en-GB' });
  const page = await context.newPage();
  await logIn(page, server.url);
  for (const [label, name] of [[mac(30), 'Blink'], [mac(31), 'Ping'], [mac(32), 'Send again']]) {
    await page.goto(`${server.url}/labels/${label}`);
    await page.click(`.buttons >> text=${name}`);
    await page.waitForSelector('.notice');
  }
  await context.close();
}

const server = await Server.start(binary, { gateways: 8, labels: 2_400, writeTime: '80ms', rpcTimeout: '1s' });
const browser = await launch();
try {
  await mkdir(folder, { recursive: true });
  const skus = await server.furnish();
  await server.trouble();
  for (let at = 40; at < 52; at += 1) await server.tell('PUT', `/labels/${mac(at)}/faults`, { silent: true });
  for (let at = 60; at < 63; at += 1) await server.tell('PUT', `/labels/${mac(at)}/faults`, { nack: 'invalid_parameters' });
  await server.change('promo-2026-11', 10, { skus: skus.slice(2, 300), timeout: 4_000 });
  await server.deadLetter();
  await server.done('promo-2026-11');
  await server.tell('POST', '/gateways/00fa7e000005/offline');
  await server.tell('POST', `/gateways/${HUNG}/hang`);
  // What has failed is not sent again, and stays to be seen.
  await server.change('black-friday', 20, { skus: skus.filter((_, at) => at > 1 && (at < 39 || at > 61)), timeout: 600_000 });
  await server.change('spring-sale', 30, { skus: skus.slice(300, 420), timeout: 600_000 });
  await server.hold('spring-sale', 'paused');
  const views = {
    store: `/stores/${STORE}`, batches: `/stores/${STORE}/batches`, batch: `/stores/${STORE}/batches/promo-2026-11`,
    held: `/stores/${STORE}/batches/spring-sale?confirm=cancel`,
    label: `/labels/${BATTERY}`, gateways: `/stores/${STORE}/gateways`, gateway: `/stores/${STORE}/gateways/${HUNG}`,
    products: `/stores/${STORE}/products?q=furadeira`, product: `/stores/${STORE}/products/${skus[24]}`, actions: `/stores/${STORE}/actions`,
    'dead-letters': `/dead-letters?store=${STORE}&confirm=true`, 'out-of-date': `/stores/${STORE}/out-of-date?cause=silent`,
  };
  await act();
  for (const [size, [width, height]] of Object.entries(SIZES)) {
    for (const colorScheme of ['light', 'dark']) {
      const locale = colorScheme === 'light' ? 'en-GB' : 'pt-BR';
      const context = await browser.newContext({ locale, colorScheme, viewport: { width, height } });
      const page = await context.newPage();
      await logIn(page, server.url);
      for (const [name, path] of Object.entries(views)) {
        await page.goto(server.url + path);
        await page.waitForSelector('h1');
        await page.waitForFunction(() => !document.querySelector('.skeleton')
          && [...document.querySelectorAll('[data-plot]')].every((plot) => plot.querySelector('canvas')));
        await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`) });
      }
      await context.close();
    }
  }
} catch (error) {
  console.error(error);
  console.error(server.log);
  process.exitCode = 1;
} finally {
  await browser.close();
  await server.close();
}
