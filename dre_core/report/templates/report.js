"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const block = (id) => {
    const node = byId(id);
    return node ? JSON.parse(node.textContent) : null;
  };
  const count = new Intl.NumberFormat("en-US");

  // Light or dark, on top of what the system prefers.
  const theme = byId("theme");
  if (theme) {
    theme.hidden = false;
    theme.addEventListener("click", () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
      document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
    });
  }
  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details:not([open])")) {
      each.open = true;
      each.dataset.printed = "yes";
    }
  });
  addEventListener("afterprint", () => {
    for (const each of document.querySelectorAll("details[data-printed]")) {
      each.open = false;
      delete each.dataset.printed;
    }
  });
  // A link to something folded unfolds it.
  const unfold = () => {
    let node = location.hash ? byId(location.hash.slice(1)) : null;
    for (; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();

  // Every test, a page of them at a time.
  const data = block("data-tests");
  const body = byId("test-rows");
  if (data && body) {
    const SIZE = 25;
    const search = byId("test-search"), order = byId("test-order");
    const chips = [...document.querySelectorAll("[data-outcome]")];
    const all = data.tests;
    let found = all, page = 0, outcome = "";
    const name = (test) => (data.files[test[0]] ? data.files[test[0]] + "::" : "") + test[1];
    const took = (ms) => (ms < 1 ? (ms ? "<1 ms" : "0 ms") : ms < 1000 ? Math.round(ms) + " ms" : (ms / 1000).toFixed(2) + " s");
    const show = () => {
      const pages = Math.max(1, Math.ceil(found.length / SIZE));
      page = Math.min(Math.max(page, 0), pages - 1);
      const rows = document.createDocumentFragment();
      for (const test of found.slice(page * SIZE, page * SIZE + SIZE)) {
        const row = make("tr");
        const kind = make("td", "o-" + test[2]);
        kind.append(make("span", "tag", test[2]));
        const what = make("td", "break");
        what.append(make("code", "", name(test)));
        if (test[4]) what.append(make("div", "soft", test[4]));
        row.append(kind, what, make("td", "num", took(test[3])));
        rows.append(row);
      }
      if (!found.length) {
        const row = make("tr"), cell = make("td", "soft", "No test fits.");
        cell.colSpan = 3;
        row.append(cell);
        rows.append(row);
      }
      body.replaceChildren(rows);
      byId("test-count").textContent = found.length === all.length
        ? count.format(all.length) + " tests" : count.format(found.length) + " of " + count.format(all.length) + " tests";
      byId("test-page").textContent = "Page " + (page + 1) + " of " + pages;
      byId("test-back").disabled = page === 0;
      byId("test-next").disabled = page >= pages - 1;
    };
    const choose = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      found = all.filter((test) => {
        if (outcome && test[2] !== outcome) return false;
        if (!words.length) return true;
        const text = name(test).toLowerCase();
        return words.every((word) => text.includes(word));
      });
      if (order.value === "slow") found = [...found].sort((a, b) => b[3] - a[3]);
      else if (order.value === "name") found = [...found].sort((a, b) => (name(a) < name(b) ? -1 : 1));
      page = 0;
      show();
    };
    search.addEventListener("input", choose);
    order.addEventListener("change", choose);
    for (const chip of chips) chip.addEventListener("click", () => {
      outcome = chip.dataset.outcome;
      for (const each of chips) each.setAttribute("aria-pressed", String(each === chip));
      choose();
    });
    byId("test-back").addEventListener("click", () => { page -= 1; show(); });
    byId("test-next").addEventListener("click", () => { page += 1; show(); });
    byId("test-tools").hidden = false;
    byId("test-pager").hidden = false;
    show();
  }

  // The recording: rows of text, changed as time goes by.
  const cast = block("data-cast");
  const screen = byId("screen");
  if (cast && screen) {
    const play = byId("play"), seek = byId("seek"), clock = byId("clock"), speed = byId("speed");
    const rows = [...screen.children];
    let next = 0, at = cast.end, started = null, from = 0;
    const paint = (frame) => {
      for (const [number, runs] of frame[1]) {
        const parts = runs.map(([text, look]) => {
          const run = make("span", look.replace(/[0-9b]/g, (sign) => " t" + sign).trim(), text);
          return run;
        });
        rows[number].replaceChildren(...parts);
      }
    };
    const go = (time) => {
      if (time < at) {
        for (const row of rows) row.replaceChildren();
        next = 0;
      }
      at = time;
      while (next < cast.frames.length && cast.frames[next][0] <= time) paint(cast.frames[next++]);
      seek.value = String(time);
      clock.textContent = (time / 1000).toFixed(1) + " of " + (cast.end / 1000).toFixed(1) + " s";
    };
    const stop = () => { started = null; play.textContent = "Play"; };
    const step = (now) => {
      if (started === null) return;
      const time = from + (now - started) * Number(speed.value);
      if (time >= cast.end) { go(cast.end); stop(); return; }
      go(time);
      requestAnimationFrame(step);
    };
    play.addEventListener("click", () => {
      if (started !== null) { stop(); return; }
      if (at >= cast.end) { at = Infinity; go(0); }
      from = at;
      started = performance.now();
      play.textContent = "Pause";
      requestAnimationFrame(step);
    });
    speed.addEventListener("change", () => { from = at; if (started !== null) started = performance.now(); });
    seek.addEventListener("input", () => { stop(); go(Number(seek.value)); });
    seek.max = String(cast.end);
    next = cast.frames.length;
    go(cast.end);
    byId("player").hidden = false;
  }
})();
