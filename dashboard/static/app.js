// What the pages do beyond HTML: theme, live refresh that can be paused, copy buttons, keys. Reading needs none of it.
(() => {
  "use strict";
  const root = document.documentElement;
  const stored = (key) => { try { return localStorage.getItem("jobclaim." + key); } catch { return null; } };
  const store = (key, value) => { try { localStorage.setItem("jobclaim." + key, value); } catch { /* private mode */ } };

  // --- theme: set before the first paint, so this file is loaded in the head without defer
  const THEMES = ["system", "light", "dark"];
  const theme = () => (THEMES.includes(stored("theme")) ? stored("theme") : "system");
  const showTheme = () => {
    const now = theme();
    if (now === "system") delete root.dataset.theme; else root.dataset.theme = now;
    const button = document.getElementById("theme");
    if (button) {
      button.setAttribute("aria-label", `Theme: ${now}. Change it`);
      button.title = `Theme: ${now}`;
      button.dataset.now = now;
    }
  };
  const nextTheme = () => { store("theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]); showTheme(); };
  root.classList.add("js");
  showTheme();

  // --- live refresh: htmx polls; this decides whether a poll may go out now, and says what became of it
  const paused = () => stored("paused") === "yes";
  const showLive = (state, text) => {
    const button = document.getElementById("live-switch");
    if (!button) return;
    button.dataset.state = state;
    button.setAttribute("aria-pressed", String(state === "paused"));
    button.querySelector("[data-text]").textContent = text;
  };
  const clock = () => new Date().toLocaleTimeString([], { hour12: false });
  const showIdle = () => (paused() ? showLive("paused", "Paused") : showLive("live", "Live"));
  const switchLive = () => { store("paused", paused() ? "no" : "yes"); showIdle(); };
  const busy = (region) => {
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && region.contains(selection.anchorNode)) return true;
    const focus = document.activeElement;
    if (focus && region.contains(focus) && focus.matches("input, select, textarea, summary, :focus-visible")) return true;
    const typed = [...region.querySelectorAll("input:not([type=hidden]), textarea")].some((one) => one.value !== one.defaultValue);
    return typed || Boolean(region.querySelector("details[open]"));
  };
  document.addEventListener("htmx:beforeRequest", (event) => {
    const region = event.detail.elt;
    if (region.dataset.live === undefined) return;
    const held = !paused() && !document.hidden && busy(region); // somebody reads or writes here: nothing moves
    if (held) showLive("held", "Held while you work here");
    if (held || paused() || document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const asked = event.detail.requestConfig?.elt; // the element itself is swapped and gone by now
    if (asked?.dataset.live === undefined) return;
    if (event.detail.successful && document.getElementById("live")?.dataset.live === undefined) showLive("over", "Nothing changes any more");
    else if (event.detail.successful) showLive(paused() ? "paused" : "live", paused() ? "Paused" : `Live ${clock()}`);
    else showLive("stale", event.detail.xhr.status ? `Stale: answer ${event.detail.xhr.status}` : "Stale: no answer");
  });

  // --- copy buttons
  const copied = (button) => {
    button.dataset.done = "yes";
    const said = document.getElementById("said");
    if (said) said.textContent = "Copied";
    setTimeout(() => { delete button.dataset.done; if (said) said.textContent = ""; }, 1500);
  };
  const copy = async (button) => {
    const text = button.dataset.copy ?? document.getElementById(button.dataset.copyFrom)?.textContent ?? "";
    try { await navigator.clipboard.writeText(text); copied(button); } catch { copyByHand(text, button); }
  };
  const copyByHand = (text, button) => { // plain http on another host has no clipboard API
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "offscreen";
    document.body.append(area);
    area.select();
    if (document.execCommand("copy")) copied(button);
    area.remove();
    button.focus();
  };

  // --- keys: a letter, or g and a letter; never while one types
  const keysOn = () => stored("keys") !== "no";
  let went = 0;
  const key = (event) => {
    if (!keysOn() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, dialog")) return;
    if (Date.now() - went < 1200) {
      went = 0;
      const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const act = { g: () => { went = Date.now(); }, "/": focusSearch, p: switchLive, t: nextTheme, "?": openKeys }[event.key];
    if (act) { event.preventDefault(); act(); }
  };
  const focusSearch = () => document.getElementById("find")?.focus();
  const openKeys = () => document.getElementById("keys")?.showModal();

  document.addEventListener("DOMContentLoaded", () => {
    showTheme();
    showIdle();
    document.querySelector("nav a[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
    document.addEventListener("keydown", key);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.id === "theme") nextTheme();
      else if (button.id === "live-switch") switchLive();
      else if (button.dataset.opens) document.getElementById(button.dataset.opens)?.showModal();
      else if (button.dataset.copy !== undefined || button.dataset.copyFrom) copy(button);
    });
    const box = document.getElementById("keys-on");
    if (box) {
      box.checked = keysOn();
      box.addEventListener("change", () => store("keys", box.checked ? "yes" : "no"));
    }
  });
})();
