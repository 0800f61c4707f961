
"use strict";
// Reads only attributes and text of the page, writes only `hidden`, `open` and the order: nothing from the data is ever code.
(() => {
  const byId = (id) => document.getElementById(id);
  const list = byId("list"), cards = [...list.querySelectorAll(".suspect")], texts = new Map();
  const controls = byId("controls");
  controls.hidden = false;

  const textOf = (card) => {  // what the search looks at: the suspect itself, not the rows beside it
    if (!texts.has(card)) texts.set(card, [...card.querySelectorAll("header, .cells")].map((e) => e.textContent).join(" ").toLowerCase());
    return texts.get(card);
  };

  const filter = () => {
    const given = byId("given")?.value ?? "", suggested = byId("suggested")?.value ?? "";
    const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean), only = byId("only")?.checked;
    let shown = 0;
    for (const card of cards) {
      const keep = (!only || card.classList.contains("flagged"))
        && (!given || "=" + card.dataset.given === given)
        && (!suggested || "=" + card.dataset.suggested === suggested)
        && words.every((word) => textOf(card).includes(word));
      card.hidden = !keep;
      shown += keep;
    }
    byId("shown").textContent = `${shown.toLocaleString("en")} of ${cards.length.toLocaleString("en")} shown`;
    byId("none").hidden = shown > 0;
  };

  const sort = () => {
    const [name, direction] = byId("sort").value.split("|");
    const value = (card) => card.getAttribute("data-by-" + name);
    const numeric = cards.every((card) => value(card) === "" || !Number.isNaN(asNumber(value(card))));
    const sign = direction === "down" ? -1 : 1;
    cards.sort((a, b) => {
      const x = value(a), y = value(b);
      if ((x === "") !== (y === "")) return x === "" ? 1 : -1;  // what is not there comes last, either way
      const order = numeric ? asNumber(x) - asNumber(y) : x.localeCompare(y, undefined, { numeric: true });
      return sign * order || a.dataset.byRank - b.dataset.byRank;
    });
    list.append(...cards);
  };
  const asNumber = (text) => text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);

  controls.addEventListener("input", filter);
  byId("sort").addEventListener("change", sort);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(() => { filter(); sort(); }));
  for (const button of document.querySelectorAll("button.pair")) {
    button.addEventListener("click", () => {
      byId("given").value = "=" + button.dataset.given;
      byId("suggested").value = "=" + button.dataset.suggested;
      filter();
      byId("suspects").scrollIntoView();
    });
  }
  const details = () => cards.map((card) => card.querySelector("details")).filter(Boolean);
  byId("open")?.addEventListener("click", (event) => {
    const open = event.target.dataset.open !== "yes";
    for (const each of details()) each.open = open;
    event.target.dataset.open = open ? "yes" : "no";
    event.target.textContent = open ? "Close all" : "Open all";
  });
  window.addEventListener("beforeprint", () => { for (const each of details()) each.open = true; });
  filter();
})();
