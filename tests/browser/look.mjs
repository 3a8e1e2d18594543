// Opens a page in Chromium at several widths, in light and dark, and prints as JSON what is wrong with it.
//   node look.mjs CHROMIUM FILE WIDTH...
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const require = createRequire(process.cwd() + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [executablePath, file, ...widths] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"],
});
const found = { console: [], requests: [], overflow: [], scrolled: [], violations: [] };
for (const colorScheme of ["light", "dark"]) {
  const context = await browser.newContext({ bypassCSP: true, colorScheme });
  const page = await context.newPage();
  page.on("console", (message) => found.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => found.console.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith("file:") && !request.url().startsWith("data:")) found.requests.push(request.url());
  });
  await page.goto(pathToFileURL(file).href);
  for (const width of widths.map(Number)) {
    await page.setViewportSize({ width, height: 900 });
    const over = await page.evaluate(() => {
      const room = document.documentElement.clientWidth;
      const wide = [...document.querySelectorAll("body *")].filter(
        (element) => !element.closest(".scroll, svg, pre") && element.getBoundingClientRect().right > room + 1,
      );
      return { body: document.documentElement.scrollWidth - room, wide: wide.slice(0, 3).map((e) => e.outerHTML.slice(0, 120)) };
    });
    const scrolled = await page.evaluate(() =>
      [...document.querySelectorAll(".scroll")]
        .filter((region) => region.querySelector(".lines, .stacked") && region.scrollWidth > region.clientWidth)
        .map((region) => region.getAttribute("aria-label")),
    );
    if (scrolled.length) found.scrolled.push({ width, scrolled });
    if (over.body > 0 || over.wide.length) found.overflow.push({ width, colorScheme, ...over });
  }
  await page.evaluate(axe);
  const result = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of result.violations)
    found.violations.push({ id, impact, help, colorScheme, where: nodes.slice(0, 3).map((node) => node.html.slice(0, 160)) });
  await context.close();
}
await browser.close();
console.log(JSON.stringify(found));
