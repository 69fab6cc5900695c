"use strict";
const told = JSON.parse(document.getElementById("told").textContent);
const dialog = document.querySelector("dialog");

/* Provenance: texts only, never markup. */
const plain = (value) =>
  typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : String(value);
function list(values) {
  const found = document.createElement("dl");
  for (const [name, value] of Object.entries(values)) {
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = name.replaceAll("_", " ");
    if (value !== null && typeof value === "object" && !Array.isArray(value)) text.append(list(value));
    else text.textContent = Array.isArray(value) ? value.map(plain).join(", ") : plain(value);
    found.append(term, text);
  }
  return found;
}
document.addEventListener("click", (event) => {
  const shot = event.target.closest(".shot");
  if (shot) {
    const one = told[Number(shot.dataset.number)], image = dialog.querySelector("img");
    image.src = shot.querySelector("img").src;
    image.alt = one.caption;
    dialog.querySelector("h2").textContent = one.caption;
    dialog.querySelector(".told").replaceChildren(list(one.told));
    dialog.showModal();
    dialog.scrollTop = 0;
  } else if (event.target === dialog || event.target.closest("dialog header button")) dialog.close();
});

/* Tables: a click on a heading sorts, the largest first; texts from a. */
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  for (const button of table.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const head = button.parentElement, place = head.cellIndex, isText = head.classList.contains("text");
      const down = head.ariaSort ? head.ariaSort !== "descending" : !isText;
      for (const one of table.querySelectorAll("th")) one.ariaSort = null;
      head.ariaSort = down ? "descending" : "ascending";
      const value = (row) => {
        const cell = row.cells[place];
        return isText ? cell.textContent : cell.dataset.v === undefined ? -Infinity : Number(cell.dataset.v);
      };
      const order = (a, b) => (isText ? value(a).localeCompare(value(b)) : value(a) - value(b)) || 0;
      body.append(...[...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b))));
    });
  }
  const search = table.closest(".block").querySelector("input[type=search]");
  if (search) search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    let found = 0;
    for (const row of body.rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      found += !row.hidden;
    }
    search.parentElement.querySelector("output").textContent = `${found} of ${body.rows.length} rows`;
  });
}

/* Where the reader is. */
const links = new Map([...document.querySelectorAll("nav li a")].map((link) => [link.hash.slice(1), link]));
const seen = new Set();
const watcher = new IntersectionObserver((changes) => {
  for (const change of changes) change.isIntersecting ? seen.add(change.target) : seen.delete(change.target);
  const here = [...document.querySelectorAll("section")].find((section) => seen.has(section));
  if (here) for (const [name, link] of links) link.classList.toggle("here", name === here.id);
}, { rootMargin: "-10% 0px -60% 0px" });
for (const section of document.querySelectorAll("section")) watcher.observe(section);
