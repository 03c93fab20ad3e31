// A browser on a store of its own, and what is asked of every page in it.
import assert from 'node:assert/strict';
import { axeSource, launch, LIMIT, logIn, Server } from './server.mjs';

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
// What the browser says of a server that refuses, or is gone.
const EXPECTED = new RegExp(['status of (401|403|404|503)', 'ERR_CONNECTION_REFUSED', 'ERR_INCOMPLETE_CHUNKED', 'ERR_EMPTY_RESPONSE',
  'sseError', 'ERR_CONNECTION_RESET', '\\[object Event\\]'].join('|'));

// axe-core finds nothing wrong.
export async function accessible(page, what) {
  // The extension's own page, not the document, runs it: the policy holds for scripts of the document.
  const found = await page.evaluate(`(() => { ${axeSource}; return axe.run(document, { runOnly: ${JSON.stringify(RULES)} }); })()`);
  const said = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
  assert.deepEqual(said, [], `axe-core on ${what}`);
}

class Session {
  complaints = [];

  constructor(server, browser) {
    Object.assign(this, { server, browser });
  }

  async open(options = {}) {
    const context = await this.browser.newContext({ locale: 'en-GB', viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(LIMIT);
    this.watch(page);
    return page;
  }

  // Whatever the browser complains about is a failure: a blocked script, a request to elsewhere, a dialog.
  watch(page) {
    const { complaints, server } = this;
    page.on('console', (message) => {
      const text = message.text();
      if (message.type() === 'error' && !EXPECTED.test(text + message.location().url)) complaints.push(text);
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('dialog', (dialog) => { complaints.push(dialog.message()); dialog.dismiss(); });
    page.on('request', (request) => { if (!request.url().startsWith(server.url)) complaints.push(request.url()); });
  }

  accessible(page, what) {
    return accessible(page, what);
  }

  async take(name, step, page, skus) {
    const began = Date.now();
    try {
      await step(page, skus);
      assert.deepEqual(this.complaints.splice(0), [], 'the browser complains');
    } catch (error) {
      const seen = await page.textContent('main').catch(() => '');
      error.message = `${name}: ${error.message}\n${page.url()}\n${seen.slice(0, 1500)}`;
      throw error;
    }
    console.log(`${name}: ${Date.now() - began} ms`);
  }
}

// Starts a store, brings it into trouble, and takes the steps one after the other.
export async function check(steps, trouble) {
  const server = await Server.start(process.argv[2]);
  const session = new Session(server, await launch());
  try {
    const skus = await server.furnish();
    await trouble(server, skus);
    const page = await session.open();
    await logIn(page, server.url);
    for (const [name, step] of Object.entries(steps(session))) await session.take(name, step, page, skus);
  } catch (error) {
    console.error(error);
    console.error(server.log);
    process.exitCode = 1;
  } finally {
    await session.browser.close();
    await server.close();
  }
}
