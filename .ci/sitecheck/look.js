({
  unfold() {
    for (const e of document.querySelectorAll("main details")) e.open = true;
  },

  content() {
    const text = e => (e.textContent || "").trim().replace(/\s+/g, " ").slice(0, 90);
    const main = document.querySelector("main") || document.body;
    const all = (selector, within = main) => [...within.querySelectorAll(selector)];
    const said = e => (e.getAttribute("alt") || e.getAttribute("aria-label") || "").trim();
    const anchor = e => e.id || e.closest("section")?.id;
    const ids = all("[id]", document).map(e => e.id);
    return {
      pictures: all("img, svg[role=img]").filter(e => !said(e)).map(e => e.getAttribute("src") || "svg"),
      headings: all("h2, h3").filter(e => !e.closest("nav, header, details"))
        .map(e => [anchor(e), text(e)]),
      listed: all("#TOC a", document).map(e => decodeURIComponent(e.hash.slice(1))),
      twins: ids.filter((id, i) => id && ids.indexOf(id) < i),
      words: main.innerText,
    };
  },

  overflow(commands) {
    const style = document.createElement("style");
    style.textContent = "main pre, main pre code { white-space: pre !important; }";
    document.head.append(style);
    const wide = [...document.querySelectorAll("main pre")]
      .filter(e => !e.closest(".cell-output") && e.scrollWidth > e.clientWidth + 1);
    const longest = e => e.textContent.split("\n").sort((a, b) => b.length - a.length)[0];
    const lines = wide.map(longest).filter(line => !line.startsWith(commands));
    style.remove();
    return lines;
  },

  sideways() {
    const width = document.documentElement.clientWidth;
    const found = [], words = e => `<${e.tagName.toLowerCase()}> ${e.textContent.trim().slice(0, 60)}`;
    if (document.documentElement.scrollWidth > width + 1) {
      const out = e => e.getBoundingClientRect().right > width + 1;
      const far = [...document.querySelectorAll("main *, nav *")]
        .filter(e => out(e) && !e.closest("table, .scrolls"));
      found.push(`the page, by ${words(far.find(e => !e.children.length) || far[0] || document.body)}`);
    }
    for (const e of document.querySelectorAll("main *")) {
      const scrolls = ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
      if (!scrolls || e.scrollWidth <= e.clientWidth + 1) continue;
      if (!e.matches("table, .scrolls, math") && !e.querySelector(":scope > table")) found.push(words(e));
    }
    return found;
  },

  contrast() {
    const parse = text => {
      const n = (text.match(/[\d.]+/g) || []).map(Number);
      return n.length < 4 ? [...n, 1] : n;
    };
    const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3])).concat(1);
    const known = new Map();
    const ground = e => {
      if (!e) return [255, 255, 255, 1];
      if (!known.has(e))
        known.set(e, over(parse(getComputedStyle(e).backgroundColor), ground(e.parentElement)));
      return known.get(e);
    };
    const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const light = c => {
      const [r, g, b] = c.slice(0, 3).map(v => linear(v / 255));
      return .2126 * r + .7152 * g + .0722 * b;
    };
    const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const found = new Map(), page = light(ground(document.body));
    for (const e of document.querySelectorAll("main :is(code, p, li, td, th, pre)")) {
      if (!e.getClientRects().length) continue;
      const below = ground(e), ink = over(parse(getComputedStyle(e).color), below);
      const kind = e.matches("pre code") ? "pre code" : e.tagName.toLowerCase();
      const words = `<${kind}> ${e.textContent.trim().slice(0, 40)}`;
      const text = ratio(light(ink), light(below)), chip = ratio(light(below), page);
      if (text < 4.5) found.set(kind, `${words}: contrast ${text.toFixed(1)}`);
      else if (chip > 3 && kind === "code")
        found.set(kind, `${words}: its ground stands out from the page (${chip.toFixed(1)})`);
    }
    return [...found.values()];
  },
})
