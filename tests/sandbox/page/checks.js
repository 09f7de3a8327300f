// What the tests run in the browser to judge a page.

const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

// Red, green, blue and alpha of any CSS color, 0 to 255.
function parseColor(color) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}

// The relative luminance of WCAG 2.
function measureLuminance(color) {
  const [red, green, blue] = color
    .slice(0, 3)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function findBackground(element) {
  for (let parent = element; parent; parent = parent.parentElement) {
    const color = parseColor(getComputedStyle(parent).backgroundColor);
    if (color[3] === 255) return color;
  }
  return [255, 255, 255, 255];
}

// The contrast of each element that has text of its own and can be seen.
function measureContrasts() {
  const contrasts = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!hasText || !element.checkVisibility() || element.closest(".sr")) continue;
    const text = measureLuminance(parseColor(getComputedStyle(element).color));
    const background = measureLuminance(findBackground(element));
    const [light, dark] = [Math.max(text, background), Math.min(text, background)];
    contrasts.push([(light + 0.05) / (dark + 0.05), element.className || element.tagName]);
  }
  return contrasts;
}

function getName(element) {
  const label = element.getAttribute("aria-labelledby");
  if (label) return document.getElementById(label)?.textContent.trim();
  const name = element.getAttribute("aria-label") || element.labels?.[0]?.innerText;
  return (name || element.innerText || "").trim();
}

// What a screen reader or a keyboard could not use.
function findFaults() {
  const faults = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const check = (condition, fault) => condition || faults.push(fault);
  const checkDistinct = (names, fault) => check(new Set(names).size === names.length, fault);

  check(document.documentElement.lang === "en", "no language");
  check(document.title.trim(), "no title");
  for (const landmark of ["header", "main", "footer"])
    check(all(`body > ${landmark}`).length === 1, `${landmark} is not there once`);

  const levels = all("h1, h2, h3, h4").map((heading) => Number(heading.tagName[1]));
  check(levels[0] === 1 && !levels.includes(1, 1), "not one h1 first");
  for (let i = 1; i < levels.length; i++)
    check(levels[i] <= levels[i - 1] + 1, `h${levels[i]} after h${levels[i - 1]}`);

  for (const element of all("h1, h2, h3, a, button, input:not([type=hidden]), textarea, nav, [role=region], [role=img]"))
    check(element.hidden || getName(element), `no name: ${element.outerHTML.slice(0, 80)}`);
  checkDistinct(all("nav").map(getName), "two navigations with one name");
  checkDistinct(all("[id]").map((element) => element.id), "two elements with one id");
  for (const svg of all("svg"))
    check(svg.ariaHidden || svg.getAttribute("aria-label"), "a picture without text");

  for (const cell of all("th")) check(cell.scope, "a heading of a table without scope");
  for (const item of all("ul > *, ol > *")) check(item.tagName === "LI", "a list of other things");
  for (const element of all("main, main *")) {
    const scrolls = element.scrollWidth > element.clientWidth;
    if (scrolls && getComputedStyle(element).overflowX === "auto")
      check(element.tabIndex === 0, "scrolls, but not with the keyboard");
  }
  return faults;
}
