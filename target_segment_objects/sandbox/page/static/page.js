// Keeps the regions marked with data-live up to date: the page is fetched again every second, and
// what has changed is replaced. The page is complete without it.
"use strict";

const INTERVAL_MS = 1000;
const button = document.getElementById("live");
const label = document.getElementById("live-label");
let isPaused = false;

function isSelecting(region) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && region.contains(selection.anchorNode);
}

// Replaces the content of a region, and gives the focus back to the element that had it.
function replaceRegion(region, fresh) {
  if (region.innerHTML === fresh.innerHTML || isSelecting(region)) return;
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  if (focused && !focused.id) return;
  region.replaceChildren(...fresh.childNodes);
  if (focused) document.getElementById(focused.id)?.focus({ preventScroll: true });
}

function showState(state, text) {
  button.dataset.state = state;
  label.textContent = text;
}

async function update() {
  if (isPaused || document.hidden) return;
  try {
    const response = await fetch(location.href, { cache: "no-store" });
    if (!response.ok) throw new Error(response.statusText); // another sandbox has the address now
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const region of document.querySelectorAll("[data-live]")) {
      const replacement = fresh.getElementById(region.id);
      if (replacement) replaceRegion(region, replacement);
    }
    if (!isPaused) showState("live", "Live");
  } catch {
    showState("lost", "Stopped");
  }
}

async function keepUpdating() {
  await update();
  setTimeout(keepUpdating, INTERVAL_MS);
}

// The browser has the token in a cookie now: keep it out of what is copied, shown and remembered.
const address = new URL(location.href);
if (address.searchParams.has("token")) {
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}

if (document.querySelector("[data-live]")) {
  button.hidden = false;
  button.title = "Pause the updates of this page";
  showState("live", "Live");
  button.addEventListener("click", () => {
    isPaused = !isPaused;
    button.setAttribute("aria-pressed", String(isPaused));
    showState(isPaused ? "paused" : "live", isPaused ? "Paused" : "Live");
    button.title = isPaused ? "Continue the updates of this page" : "Pause the updates of this page";
  });
  document.addEventListener("visibilitychange", update);
  setTimeout(keepUpdating, INTERVAL_MS);
}

document.getElementById("sql")?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});
