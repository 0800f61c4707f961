
"use strict";
// All text of the data goes through textContent, in a <bdi>: nothing from it is ever code or markup, and none turns around its neighbours.
(() => {
  const $ = (id) => document.getElementById(id);
  const address = new URL(location.href);
  const token = address.searchParams.get("token") ?? "";
  let who = address.searchParams.get("who") ?? "";
  let windowName = sessionStorage.getItem("window");
  if (!windowName) sessionStorage.setItem("window", windowName = crypto.randomUUID());
  let card = null, start = null, shownAt = 0, away = 0, leftAt = 0, busy = false, choice = 0, choices = [];

  const element = (name, className, ...children) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children.filter((child) => child !== null));
    return made;
  };
  const data = (text, name = "bdi", className = "") => {
    const made = element(name, className);
    made.textContent = text;
    if (name !== "bdi") made.dir = "auto";
    return made;
  };
  const percent = (p) => p === null ? "" : p > .995 && p < 1 ? ">99\u00a0%" : p > 0 && p < .005 ? "<1\u00a0%" : `${Math.round(100 * p)}\u00a0%`;
  const count = (n) => n.toLocaleString("en");
  const words = { keep: "kept", relabel: "relabelled", drop: "dropped", unsure: "unsure", disputed: "disputed", "": "open" };

  const ask = async (path, body) => {
    const options = { headers: { "X-Token": token }, cache: "no-store" };
    if (body) {
      options.method = "POST";
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify({ who, window: windowName, ...body });
    }
    let answer;
    try {
      answer = await fetch(body ? path : `${path}${path.includes("?") ? "&" : "?"}${new URLSearchParams({ who, window: windowName })}`, options);
    } catch {
      throw new Error("The review does not answer: start datassay review again. What you decided before is kept.");
    }
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    return content;
  };

  const trying = async (work) => {
    if (busy) return;
    busy = true;
    try {
      $("trouble").textContent = "";
      await work();
    } catch (error) {
      $("trouble").textContent = error.message;
    } finally {
      busy = false;
    }
  };

  // ------------------------------------------------------------------------------------------------------------ the row
  const show = (next, focus) => {
    card = next;
    $("card").hidden = !card;
    $("end").hidden = !!card;
    $("note").value = "";
    $("notebox").hidden = true;
    document.querySelector("[data-do=note]").setAttribute("aria-expanded", "false");
    if (!card) {
      $("end").textContent = "No row is left to look at. The decisions are in the file.";
      $("end").focus();
      return;
    }
    $("heading").replaceChildren("Row ", data(card.id));
    const label = (kind, title, one) => element("div", `label ${kind}`, element("span", "", `${title} `), element("b", "", data(one.label)),
      one.p === null ? null : element("span", "", ` ${percent(one.p)}`));
    const given = label("given", start.task === "regression" ? "target" : "labelled", card.given);
    const suggested = card.suggested ? label("suggested", start.task === "regression" ? "predicted" : "suggested", card.suggested)
      : element("div", "label", element("span", "", "no other label is suggested"));
    $("labels").replaceChildren(given, suggested,
      ...(card.wrong === null ? [] : [element("div", "label", element("span", "", `the ${start.task === "regression" ? "target" : "label"} is wrong with probability `), element("b", "", percent(card.wrong)))]));
    $("opinions").hidden = !card.said.length;
    $("opinions").replaceChildren("So far: ", ...card.said.flatMap((one, i) => [i ? "; " : "", data(one.who || "somebody"), ` ${words[one.action]}`,
      ...(one.new_label ? [" to ", data(one.new_label)] : []), ...(one.note ? [" (", data(one.note), ")"] : [])]));
    $("look").replaceChildren(...look(card.look, true));
    evidence(card.evidence);
    document.querySelector("[data-do=take]").disabled = !card.suggested;
    $("taketext").replaceChildren(...(card.suggested ? ["it is ", data(card.suggested.label, "bdi", "clamp")] : ["no suggestion"]));
    document.querySelector("[data-do=keep]").replaceChildren(element("kbd", "", "K"), " keep ", data(card.given.label, "bdi", "clamp"));
    shownAt = performance.now();
    away = 0;
    if (focus) {
      $("heading").focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
  };

  const look = (one, self) => {
    const parts = [];
    if (one.picture) {
      const image = element("img", self ? "self" : "");
      image.src = one.picture;
      image.alt = self ? "the row's picture" : "";
      parts.push(image);
    }
    for (const text of one.texts ?? []) {
      const made = data(text.value, "p", "text");
      if (self) {
        made.tabIndex = 0;
        made.setAttribute("role", "region");
        made.setAttribute("aria-label", "text");
      }
      parts.push(made);
    }
    if (one.cells?.length && self) {
      const list = element("ul", "cells");
      for (const cell of one.cells) {
        const made = element("li", cell.unusual ? "unusual" : "", data(cell.column, "span"), data(cell.value));
        if (cell.reason) made.append(data(cell.reason, "small"));
        list.append(made);
      }
      if (one.hidden) list.append(element("li", "more", `and ${count(one.hidden)} more column${one.hidden > 1 ? "s" : ""}`));
      parts.push(list);
    } else if (one.cells?.length) {
      const list = element("dl");
      const some = [...one.cells].sort((a, b) => b.differs - a.differs).slice(0, 6);
      for (const cell of some) list.append(element("div", cell.differs ? "differs" : "", data(cell.column, "dt"), data(cell.value, "dd")));
      parts.push(list);
    }
    return parts;
  };

  const evidence = (found) => {
    const sides = element("div", "sides");
    const titles = { for: ["labelled ", data(card.given.label), ", for it"], near: ["nearest rows"],
      against: card.suggested ? ["labelled ", data(card.suggested.label), ", against it"] : ["against it"] };
    for (const side of ["for", "against", "near"]) {
      const rows = found.rows.filter((one) => one.side === side);
      if (!rows.length) continue;
      const list = element("ul", rows.some((one) => one.look.picture) ? "others" : "others wide");
      for (const one of rows) {
        const weight = one.weight === null ? `≈ ${one.similarity.toFixed(3)}` : `${one.weight > 0 ? "+" : "−"}${Math.abs(one.weight).toPrecision(2)}`;
        list.append(element("li", "", ...look(one.look, false).filter((part) => part.tagName === "IMG"),
          element("span", `weight ${side}`, weight), " ", element("b", "", data(one.label)), element("div", "soft", data(one.id)),
          ...look(one.look, false).filter((part) => part.tagName !== "IMG")));
      }
      sides.append(element("section", "", element("h3", "", ...titles[side]), list));
    }
    const sum = found.total === null ? "" : ` Sum: ${found.total > 0 ? "+" : "−"}${Math.abs(found.total).toPrecision(3)}.`;
    $("evidence").replaceChildren(element("h2", "", "What speaks for it and against it"), sides, element("p", "soft small", found.why + sum));
  };

  // ------------------------------------------------------------------------------------------------- the numbers, the lists
  const numbers = (n) => {
    const small = (text) => element("small", "", text);
    $("looked").replaceChildren(count(n.looked), small(` of ${count(n.rows)}`));
    $("found").textContent = count(n.found);
    $("left").replaceChildren(n.left.low === n.left.high ? count(n.left.low) : `${count(n.left.low)} to ${count(n.left.high)}`, small(` by ${n.left.by}`));
    $("last").replaceChildren(n.last.of ? `${n.last.wrong} wrong` : "–", small(n.last.of ? ` of ${n.last.of}` : ""));
    const s = n.seconds_to_go;
    $("togo").replaceChildren(s === null ? "–" : s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`,
      small(s === null ? "" : ` for ${count(n.to_go)} flagged`));
    $("advice").textContent = n.advice;
    $("order").textContent = n.fixed ? `The order stays: ${n.fixed}.` : "The order follows what you decide.";
    list($("recent"), n.recent, "nothing yet");
    list($("disputed"), n.disputed, "");
    $("disputedbox").hidden = !n.disputed.length;
  };

  const list = (where, rows, none) => {
    const kept = document.activeElement?.dataset?.row;
    const inside = where.contains(document.activeElement);
    where.replaceChildren(...rows.map((one) => {
      const button = element("button", "", data(one.id), ": ", words[one.action], ...(one.action === "relabel" ? [" ", data(one.given), " → ", data(one.new_label)] : []),
        ...(one.who.some(Boolean) ? [element("span", "soft", " · ", ...one.who.flatMap((name, i) => [i ? ", " : "", data(name || "somebody")]))] : []));
      button.type = "button";
      button.dataset.row = one.row;
      button.setAttribute("aria-description", "look at it again");
      return element("li", "", button);
    }));
    if (!rows.length) where.append(element("li", "soft", none));
    if (inside) where.querySelector(`[data-row="${kept}"]`)?.focus();
  };

  // ------------------------------------------------------------------------------------------------------------ decisions
  const seconds = () => Math.max(0, (performance.now() - shownAt - away) / 1000);
  const decide = (action, more = {}) => trying(async () => {
    const answer = await ask("/api/decide", { row: card.row, action, seconds: seconds(), note: $("note").value, ...more });
    const done = answer.done;
    numbers(answer.numbers);
    show(answer.card, true);
    $("status").replaceChildren("Row ", data(done.id), ` ${words[done.action]}`, ...(done.new_label ? [" to ", data(done.new_label)] : []),
      ". ", ...(answer.card ? ["Next: row ", data(answer.card.id), ", labelled ", data(answer.card.given.label), "."] : ["No row is left."]));
  });
  const undo = () => trying(async () => {
    const answer = await ask("/api/undo", {});
    if (!answer.done) {
      $("status").textContent = "There is nothing to undo.";
      return;
    }
    closeGroup();
    numbers(answer.numbers);
    show(answer.card, true);
    $("status").replaceChildren("Row ", data(answer.done.id), " is open again.");
  });
  const open = (row) => trying(async () => {
    const answer = await ask(`/api/next?row=${row}`);
    closeGroup();
    numbers(answer.numbers);
    show(answer.card, true);
  });

  const perform = {
    keep: () => card && decide("keep"),
    take: () => card?.suggested && decide("relabel", start.task === "regression" ? { label: card.suggested.label } : { code: card.suggested.code }),
    another: () => card && pick(),
    drop: () => card && decide("drop"),
    unsure: () => card && decide("unsure"),
    undo: () => undo(),
    note: () => {
      if (!card) return;
      const hidden = $("notebox").hidden = !$("notebox").hidden;
      document.querySelector("[data-do=note]").setAttribute("aria-expanded", String(!hidden));
      $(hidden ? "heading" : "note").focus();
    },
  };
  const letters = { k: "keep", t: "take", c: "another", d: "drop", u: "unsure", z: "undo", n: "note" };

  // ---------------------------------------------------------------------------------------------------- another class
  const pick = () => {
    $("find").value = "";
    choice = 0;
    if (start.task === "regression") {
      $("picktitle").textContent = "Another target";
      $("pickhelp").textContent = "A number; Escape goes back.";
    }
    find();
    $("pick").showModal();
    $("find").focus();
  };
  const find = () => {
    if (start.task === "regression") return;
    const sought = $("find").value.trim().toLowerCase();
    const rank = (text) => text === sought ? 0 : text.startsWith(sought) ? 1 : 2;
    choices = start.classes.map((label, code) => ({ label, code, text: label.toLowerCase() })).filter((one) => one.text.includes(sought));
    choices.sort((a, b) => rank(a.text) - rank(b.text) || a.code - b.code);
    choices = choices.slice(0, 200);
    choice = Math.min(choice, Math.max(0, choices.length - 1));
    $("choices").replaceChildren(...choices.map((one, i) => {
      const made = element("li", "", data(one.label));
      made.id = `choice-${i}`;
      made.dataset.at = i;
      made.setAttribute("role", "option");
      made.setAttribute("aria-selected", String(i === choice));
      return made;
    }));
    if (!choices.length) $("choices").append(element("li", "soft", "no class has this in its name"));
    const marked = $(`choice-${choice}`);
    if (marked) {
      $("find").setAttribute("aria-activedescendant", marked.id);
      marked.scrollIntoView({ block: "nearest" });
    } else $("find").removeAttribute("aria-activedescendant");
  };
  const taken = () => {
    const more = start.task === "regression" ? { label: $("find").value.trim() } : choices[choice] && { code: choices[choice].code };
    if (!more) return;
    $("pick").close();
    if (group) decideAll("relabel", more.code);
    else decide("relabel", more);
  };
  $("find").addEventListener("input", () => { choice = 0; find(); });
  $("find").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !choices.length) return;
    event.preventDefault();
    choice = (choice + step + choices.length) % choices.length;
    find();
  });
  $("choices").addEventListener("click", (event) => {
    const at = event.target.closest("[data-at]")?.dataset.at;
    if (at === undefined) return;
    choice = Number(at);
    taken();
  });
  $("pickform").addEventListener("submit", (event) => { event.preventDefault(); taken(); });
  $("cancel").addEventListener("click", () => $("pick").close());

  // ------------------------------------------------------------------------------------------------------ groups at once
  let group = null, groupShownAt = 0;
  const grouped = (answer) => {
    $("groupsbox").hidden = !answer.groups.length;
    $("groups").replaceChildren(...answer.groups.map((one) => {
      const button = element("button", "", ...(one.kind === "equal" ? ["equal rows, other labels"] : one.kind === "near" ? ["nearly equal rows, other labels"] : [data(one.given_label), " → ", data(one.suggested_label)]),
        element("span", "soft", ` · ${count(one.rows)} open`));
      button.type = "button";
      button.addEventListener("click", () => openGroup(one));
      return element("li", "", button);
    }));
    $("ratesbox").hidden = !answer.rates.length;
    $("by").textContent = answer.by;
    $("rates").replaceChildren(...answer.rates.map((one) => {
      const share = (k) => Math.round(100 * k / one.rows);
      const made = element("li", "", data(one.name), element("span", "", `${share(one.low)} to ${share(one.high)} %`));
      made.title = `${count(one.low)} to ${count(one.high)} of ${count(one.rows)} rows, by ${one.by}; found so far: ${count(one.found)}`;
      return made;
    }));
  };
  const openGroup = (one) => trying(async () => {
    const which = { kind: one.kind };
    for (const name of ["number", "given", "suggested"]) if (name in one) which[name] = one[name];
    const answer = await ask(`/api/group?${new URLSearchParams(which)}`);
    showGroup(one, answer.rows);
  });
  const closeGroup = () => {
    group = null;
    $("group").hidden = true;
  };
  const showGroup = (one, rows) => {
    group = rows.length ? { one, rows } : null;
    $("group").hidden = !group;
    $("card").hidden = !!group || !card;
    $("end").hidden = !!group || !!card;
    if (!group) {
      (card ? $("heading") : $("end")).focus();
      shownAt = performance.now();
      return;
    }
    $("grouptitle").replaceChildren(...(one.kind === "equal" ? ["Equal rows with different labels"] : one.kind === "near" ? ["Nearly equal rows with different labels"] : ["Labelled ", data(one.given_label), ", suggested ", data(one.suggested_label)]));
    $("grouprows").className = rows.some((row) => row.look.picture) ? "grid" : "grid wide";
    $("grouprows").replaceChildren(...rows.map((row) => {
      const box = element("input");
      box.type = "checkbox";
      box.checked = true;
      box.dataset.row = row.row;
      const label = element("label", "", box, " ", data(row.id), ": ", element("b", "", data(row.given.label)),
        ...(row.suggested ? [" → ", element("b", "", data(row.suggested.label)), element("span", "soft", ` ${row.suggested.p === null ? "" : percent(row.suggested.p)}`)] : []),
        ...look(row.look, false).filter((part) => part.tagName === "IMG"));
      return element("li", "", label, ...look(row.look, false).filter((part) => part.tagName !== "IMG"));
    }));
    document.querySelector("[data-all=take]").disabled = !rows.some((row) => row.suggested);
    groupShownAt = performance.now();
    $("grouptitle").focus({ preventScroll: true });
    window.scrollTo(0, 0);
  };
  const decideAll = (action, code) => trying(async () => {
    const ticked = new Set([...$("grouprows").querySelectorAll("input:checked")].map((box) => Number(box.dataset.row)));
    let rows = group.rows.filter((row) => ticked.has(row.row));
    if (action === "take") rows = rows.filter((row) => row.suggested);
    if (!rows.length) throw new Error("No row is ticked.");
    const asked = rows.map((row) => ({ row: row.row, ...(action === "take" ? { code: row.suggested.code } : code === undefined ? {} : { code }) }));
    const answer = await ask("/api/decide_all", { rows: asked, action: action === "take" ? "relabel" : action, seconds: (performance.now() - groupShownAt) / 1000 });
    numbers(answer.numbers);
    grouped(answer);
    const done = new Set(rows.map((row) => row.row));
    const next = await ask("/api/next");
    show(next.card, false);
    showGroup(group.one, group.rows.filter((row) => !done.has(row.row)));
    $("status").textContent = `${count(rows.length)} row${rows.length > 1 ? "s" : ""} decided.`;
  });
  $("group").addEventListener("click", (event) => {
    const name = event.target.closest("[data-all]")?.dataset.all;
    if (!name) return;
    if (name === "back") showGroup(null, []);
    else if (name === "another") pick();
    else decideAll(name);
  });
  const refreshGroups = async () => {
    try { grouped(await ask("/api/groups")); } catch { /* said by the others */ }
  };

  // ------------------------------------------------------------------------------------------------------------- wiring
  $("actions").addEventListener("click", (event) => {
    const name = event.target.closest("[data-do]")?.dataset.do;
    if (name) perform[name]();
  });
  for (const where of ["recent", "disputed"]) {
    $(where).addEventListener("click", (event) => {
      const row = event.target.closest("[data-row]")?.dataset.row;
      if (row !== undefined) open(row);
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.target === $("note") && (event.key === "Enter" || event.key === "Escape")) {
      event.preventDefault();
      $("heading").focus();
      return;
    }
    const typing = event.target.matches("input:not([type=checkbox])") || $("pick").open;
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !$("keys").checked) return;
    const name = letters[event.key.toLowerCase()];
    if (!name || group) return;
    event.preventDefault();
    perform[name]();
  });
  $("keys").addEventListener("change", () => document.body.classList.toggle("no-keys", !$("keys").checked));
  $("who").value = who;
  $("who").addEventListener("change", () => {
    who = $("who").value.trim();
    address.searchParams.set("who", who);
    history.replaceState(null, "", address);
    refresh();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leftAt = performance.now();
    else if (leftAt) { away += performance.now() - leftAt; leftAt = 0; }
  });
  const refresh = async () => {
    if (busy || document.hidden) return;
    try {
      const answer = await ask("/api/numbers");
      if (!busy) numbers(answer.numbers);
    } catch (error) {
      $("trouble").textContent = error.message;
    }
  };
  setInterval(refresh, 5000);
  setInterval(() => { if (!busy && !document.hidden) refreshGroups(); }, 15000);
  trying(async () => {
    start = await ask("/api/start");
    $("file").textContent = start.file;
    if (start.task === "regression") $("anothertext").textContent = "another target";
    const answer = await ask("/api/next");
    numbers(answer.numbers);
    show(answer.card, true);
    refreshGroups();
  });
})();
