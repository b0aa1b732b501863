import { addTexts } from "../js/i18n.js";

addTexts({
  "page.toys": ["Toys", "장난감"],
  "toys.pageTitle": ["Toys", "장난감"],
  "toys.title": ["All toys", "모든 장난감"],
});
